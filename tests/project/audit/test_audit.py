"""The audit trail: its entries, and their read-only pages in the admin."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import authenticate
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import authenticate_api_key, create_key, revoke_key, rotate_key
from project.api_keys.models import ApiKey
from project.audit import signals
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from project.audit.signals import LOCKED_OUT, VIA_ACCESS_TOKEN, WRONG_CREDENTIALS
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
CLIENT_IP = "198.51.100.7"
NEW_PASSWORD = "a new horse battery staple"


@pytest.fixture
def visitor() -> Client:
    """Return an anonymous client of the Django application with a known IP address."""
    return Client(REMOTE_ADDR=CLIENT_IP)


def entries() -> list[tuple[str, str, str | None]]:
    """Return (action, actor, ip_address) of each entry, oldest first."""
    return list(AuditEvent.objects.order_by("pk").values_list("action", "actor", "ip_address"))


def changes() -> list[tuple[str, str, str, str, str | None]]:
    """Return (action, object, actor, actor_kind, ip_address) of each entry about a change, oldest first."""
    events = AuditEvent.objects.exclude(object="").order_by("pk")
    return list(events.values_list("action", "object", "actor", "actor_kind", "ip_address"))


def test_records_login_and_logout(owner: User, visitor: Client) -> None:
    visitor.post("/admin/login/", {"username": "owner", "password": PASSWORD})
    visitor.post("/admin/logout/")

    assert entries() == [(AuditAction.LOGGED_IN, "owner", CLIENT_IP), (AuditAction.LOGGED_OUT, "owner", CLIENT_IP)]


def test_records_a_wrong_password(owner: User, visitor: Client) -> None:
    visitor.post("/admin/login/", {"username": "owner", "password": "hunter2"})

    assert entries() == [(AuditAction.REJECTED, "owner", CLIENT_IP)]


def test_records_a_wrong_password_for_a_token(owner: User, client: TestClient) -> None:
    client.post("/api/token", data={"username": "owner", "password": "hunter2"})

    assert entries() == [(AuditAction.REJECTED, "owner", None)]


def test_records_an_issued_token(owner: User, client: TestClient) -> None:
    TestClient(client.app, client=(CLIENT_IP, 1)).post("/api/token", data={"username": "owner", "password": PASSWORD})

    assert entries() == [(AuditAction.LOGGED_IN, "owner", CLIENT_IP)]
    assert AuditEvent.objects.get().reason == VIA_ACCESS_TOKEN


def test_a_wrong_old_password_is_recorded_and_counts_towards_the_lockout(
    owner: User, visitor: Client, settings: Settings
) -> None:
    settings.LOGIN_MAX_FAILURES = 2
    visitor.force_login(owner)
    new = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}

    responses = [visitor.post("/admin/password_change/", {"old_password": old, **new}) for old in ("a", "b", PASSWORD)]

    assert [response.status_code for response in responses] == [200, 429, 429]
    assert entries()[1:3] == [(AuditAction.REJECTED, "owner", CLIENT_IP)] * 2
    assert User.objects.get().check_password(PASSWORD)


def test_truncates_a_long_username() -> None:
    authenticate(RequestFactory(REMOTE_ADDR=CLIENT_IP).post("/admin/login/"), username="x" * 200, password=PASSWORD)

    assert entries() == [(AuditAction.REJECTED, "x" * 150, CLIENT_IP)]


def test_does_not_record_a_rehash_of_the_same_password(owner: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]

    assert owner.check_password(PASSWORD)

    assert User.objects.get().password.startswith("pbkdf2_sha256")
    assert entries() == []


@pytest.mark.parametrize(
    "form", [{"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}, {"usable_password": "false", "unset-password": "yes"}]
)
def test_records_a_password_changed_by_staff(owner: User, teammate: User, visitor: Client, form: dict[str, str]) -> None:
    visitor.force_login(owner)

    visitor.post(f"/admin/accounts/user/{teammate.pk}/password/", {"usable_password": "true", **form})

    assert not User.objects.get(pk=teammate.pk).check_password(PASSWORD)
    assert changes() == [(AuditAction.PASSWORD_CHANGED, "teammate", "owner", "session", CLIENT_IP)]


def test_records_a_password_change_without_the_password(owner: User, visitor: Client) -> None:
    visitor.force_login(owner)

    visitor.post(
        "/admin/password_change/", {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    )

    assert changes() == [(AuditAction.PASSWORD_CHANGED, "owner", "owner", "session", CLIENT_IP)]
    assert NEW_PASSWORD not in str(list(AuditEvent.objects.values_list()))


def test_does_not_record_other_changes_of_a_user(owner: User) -> None:
    owner.first_name = "Ada"
    owner.save()

    assert entries() == []


def test_records_creation_rotation_and_revocation_of_a_key() -> None:
    create_key("shop", scopes=["emails:send"])
    prefix = ApiKey.objects.get().prefix

    text = rotate_key(prefix, overlap=timedelta(0), now=timezone.now())
    authenticate_api_key(text, now=timezone.now())  # successful authentication is not recorded
    revoke_key(prefix, now=timezone.now())

    label = f"shop (mr_{prefix}…)"
    assert changes() == [
        (action, label, "command line", "command", None)
        for action in (AuditAction.KEY_CREATED, AuditAction.KEY_ROTATED, AuditAction.KEY_REVOKED)
    ]


def test_records_a_key_created_by_the_command_without_its_secret(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_api_key", "shop", "--scope", "emails:send")

    key = capsys.readouterr().out.strip()
    assert changes() == [(AuditAction.KEY_CREATED, f"shop ({key[:11]}…)", "command line", "command", None)]


def test_records_the_user_who_creates_and_revokes_a_key(owner: User, visitor: Client) -> None:
    visitor.force_login(owner)

    visitor.post("/admin/api_keys/apikey/add/", {"name": "shop", "scopes": ["emails:send"], "allowed_senders": ""})
    key = ApiKey.objects.get()
    visitor.post(f"/admin/api_keys/apikey/{key.pk}/revoke/")

    label = f"shop (mr_{key.prefix}…)"
    assert changes() == [
        (AuditAction.KEY_CREATED, label, "owner", "session", CLIENT_IP),
        (AuditAction.KEY_REVOKED, label, "owner", "session", CLIENT_IP),
    ]


def test_records_changes_of_suppressions_and_templates_in_the_admin(owner: User, visitor: Client) -> None:
    visitor.force_login(owner)
    csv = SimpleUploadedFile("list.csv", b"eve@example.com\nmallory@example.com\n")

    visitor.post("/admin/suppressions/suppression/add/", {"address": "Ada@example.com", "reason": ""})
    visitor.post("/admin/suppressions/suppression/import/", {"file": csv})
    visitor.post("/admin/mail_templates/template/add/", {"slug": "welcome", "subject": "Hi", "text": "Hi"})

    assert changes() == [
        (AuditAction.SUPPRESSION_ADDED, "ada@example.com", "owner", "session", CLIENT_IP),
        (AuditAction.SUPPRESSIONS_IMPORTED, "2 addresses of a CSV file", "owner", "session", CLIENT_IP),
        (AuditAction.TEMPLATE_SAVED, "welcome (version 1)", "owner", "session", CLIENT_IP),
    ]


def test_records_attempts_during_a_lockout_once_a_minute(
    owner: User, visitor: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    settings.LOGIN_MAX_FAILURES = 2

    for _ in range(5):
        visitor.post("/admin/login/", {"username": "owner", "password": "wrong"})

    reasons = list(AuditEvent.objects.order_by("pk").values_list("reason", flat=True))
    assert sorted(reasons) == [LOCKED_OUT, WRONG_CREDENTIALS, WRONG_CREDENTIALS]


@pytest.mark.parametrize("model", ["audit/auditevent", "admin/logentry"])
def test_a_superuser_can_read_but_not_write_the_audit_trail(owner: User, model: str) -> None:
    event = AuditEvent.objects.create(action=AuditAction.REJECTED, actor="mallory")
    entry = LogEntry.objects.create(user=owner, object_repr="mallory", action_flag=ADDITION)
    browser = Client()
    browser.force_login(owner)
    url = f"/admin/{model}/"
    row = event.pk if model == "audit/auditevent" else entry.pk

    assert "mallory" in browser.get(url).content.decode()
    assert browser.get(f"{url}{row}/change/").status_code == 200
    for forbidden in ("add/", f"{row}/change/", f"{row}/delete/"):
        assert browser.post(f"{url}{forbidden}", {"actor": "forged", "post": "yes"}).status_code == 403
    browser.post(url, {"action": "delete_selected", "_selected_action": [row], "post": "yes"})
    assert AuditEvent.objects.filter(pk=event.pk, actor="mallory").exists()
    assert LogEntry.objects.filter(pk=entry.pk).exists()


def test_requires_the_permission_to_view_the_audit_trail(teammate: User) -> None:
    browser = Client()
    browser.force_login(teammate)

    assert browser.get("/admin/audit/auditevent/").status_code == 403


def test_the_name_of_an_actor_cannot_look_like_another(visitor: Client) -> None:
    visitor.post("/admin/login/", {"username": "nimda\u202e\u2066\x07", "password": "wrong"})

    assert entries() == [("rejected", "nimda", CLIENT_IP)]
