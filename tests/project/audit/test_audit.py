"""The audit trail: what is in it, and that nobody writes it by hand."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import authenticate
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
ADDRESS = "198.51.100.7"
NEW = "a new horse battery staple"


@pytest.fixture
def visitor() -> Client:
    """At Django's half, from an address."""
    return Client(REMOTE_ADDR=ADDRESS)


def facts() -> list[tuple[str, str, str | None]]:
    """The trail, oldest first."""
    return list(AuditEvent.objects.order_by("pk").values_list("action", "actor", "ip_address"))


def test_signing_in_and_out_is_written_down(owner: User, visitor: Client) -> None:
    visitor.post("/admin/login/", {"username": "owner", "password": PASSWORD})
    visitor.post("/admin/logout/")

    assert facts() == [(AuditAction.SIGNED_IN, "owner", ADDRESS), (AuditAction.SIGNED_OUT, "owner", ADDRESS)]


def test_a_wrong_password_is_written_down_without_it(owner: User, visitor: Client) -> None:
    visitor.post("/admin/login/", {"username": "owner", "password": "hunter2"})

    assert facts() == [(AuditAction.REJECTED, "owner", ADDRESS)]


def test_a_wrong_password_for_a_token_is_written_down(owner: User, client: TestClient) -> None:
    client.post("/api/token", data={"username": "owner", "password": "hunter2"})

    assert facts() == [(AuditAction.REJECTED, "owner", None)]


def test_a_token_that_was_given_is_written_down_as_such(owner: User, client: TestClient) -> None:
    TestClient(client.app, client=(ADDRESS, 1)).post("/api/token", data={"username": "owner", "password": PASSWORD})

    assert facts() == [(AuditAction.SIGNED_IN, "owner", ADDRESS)]
    assert AuditEvent.objects.get().reason == VIA_ACCESS_TOKEN


def test_a_wrong_old_password_is_written_down_and_locks(owner: User, visitor: Client, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    visitor.force_login(owner)
    new = {"new_password1": NEW, "new_password2": NEW}

    guesses = [visitor.post("/admin/password_change/", {"old_password": old, **new}) for old in ("a", "b", PASSWORD)]

    assert [guess.status_code for guess in guesses] == [200, 429, 429]
    assert facts()[1:3] == [(AuditAction.REJECTED, "owner", ADDRESS)] * 2
    assert User.objects.get().check_password(PASSWORD)


def test_a_name_that_is_too_long_for_its_column_is_cut() -> None:
    authenticate(RequestFactory(REMOTE_ADDR=ADDRESS).post("/admin/login/"), username="x" * 200, password=PASSWORD)

    assert facts() == [(AuditAction.REJECTED, "x" * 150, ADDRESS)]


def test_a_hash_of_the_same_password_made_anew_is_not_written_down(owner: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]

    assert owner.check_password(PASSWORD)

    assert User.objects.get().password.startswith("pbkdf2_sha256")
    assert facts() == []


@pytest.mark.parametrize("form", [{"password1": NEW, "password2": NEW}, {"usable_password": "false", "unset-password": "yes"}])
def test_a_password_that_staff_change_is_written_down(owner: User, teammate: User, visitor: Client, form: dict[str, str]) -> None:
    visitor.force_login(owner)

    visitor.post(f"/admin/accounts/user/{teammate.pk}/password/", {"usable_password": "true", **form})

    assert not User.objects.get(pk=teammate.pk).check_password(PASSWORD)
    assert facts()[1:] == [(AuditAction.PASSWORD_CHANGED, "teammate", None)]


def test_a_password_that_its_owner_changes_is_written_down_without_it(owner: User, visitor: Client) -> None:
    visitor.force_login(owner)

    visitor.post("/admin/password_change/", {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW})

    assert facts()[1:] == [(AuditAction.PASSWORD_CHANGED, "owner", None)]
    assert NEW not in str(list(AuditEvent.objects.values_list()))


def test_who_is_changed_and_keeps_the_password_is_not_written_down(owner: User) -> None:
    owner.first_name = "Ada"
    owner.save()

    assert facts() == []


def test_a_keys_life_is_written_down() -> None:
    create_key("shop", scopes=["emails:send"])
    prefix = ApiKey.objects.get().prefix

    text = rotate_key(prefix, overlap=timedelta(0), now=timezone.now())
    authenticate_api_key(text, now=timezone.now())  # its use is not
    revoke_key(prefix, now=timezone.now())

    name = f"shop (mr_{prefix}…)"
    assert facts() == [(fact, name, None) for fact in (AuditAction.KEY_CREATED, AuditAction.KEY_ROTATED, AuditAction.KEY_REVOKED)]


def test_a_key_made_by_command_is_written_down_without_its_secret(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_api_key", "shop", "--scope", "emails:send")

    key = capsys.readouterr().out.strip()
    ((fact, name, _address),) = facts()
    assert (fact, name) == (AuditAction.KEY_CREATED, f"shop ({key[:11]}…)")


def test_who_is_locked_out_and_goes_on_is_written_down_once_a_minute(
    owner: User, visitor: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    settings.AXES_FAILURE_LIMIT = 2

    for _ in range(5):
        visitor.post("/admin/login/", {"username": "owner", "password": "wrong"})

    reasons = list(AuditEvent.objects.order_by("pk").values_list("reason", flat=True))
    assert sorted(reasons) == [LOCKED_OUT, WRONG_CREDENTIALS, WRONG_CREDENTIALS]


@pytest.mark.parametrize("model", ["audit/auditevent", "admin/logentry"])
def test_the_owner_reads_the_trail_and_writes_nothing(owner: User, model: str) -> None:
    event = AuditEvent.objects.create(action=AuditAction.REJECTED, actor="mallory")
    entry = LogEntry.objects.create(user=owner, object_repr="mallory", action_flag=ADDITION)
    browser = Client()
    browser.force_login(owner)
    address = f"/admin/{model}/"
    row = event.pk if model == "audit/auditevent" else entry.pk

    assert "mallory" in browser.get(address).content.decode()
    assert browser.get(f"{address}{row}/change/").status_code == 200
    for forbidden in ("add/", f"{row}/change/", f"{row}/delete/"):
        assert browser.post(f"{address}{forbidden}", {"actor": "forged", "post": "yes"}).status_code == 403
    browser.post(address, {"action": "delete_selected", "_selected_action": [row], "post": "yes"})
    assert AuditEvent.objects.filter(pk=event.pk, actor="mallory").exists()
    assert LogEntry.objects.filter(pk=entry.pk).exists()


def test_a_teammate_does_not_see_it(teammate: User) -> None:
    browser = Client()
    browser.force_login(teammate)

    assert browser.get("/admin/audit/auditevent/").status_code == 403
