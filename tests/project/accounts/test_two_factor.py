"""Two-factor login: setup, verification, enforcement and disabling."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.test import RequestFactory
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.audit import deduplication, signals
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import NotAuthenticated
from tests.conftest import PASSWORD

SETUP_URL = "/admin/two-factor/"
CLIENT_IP, LOCAL = "198.51.100.7", "127.0.0.1"


def current_code(device: TOTPDevice) -> str:
    """Return the code that the authenticator app shows now."""
    return f"{TOTP(device.bin_key, device.step, device.t0, device.digits).token():06}"


def incorrect_code(device: TOTPDevice) -> str:
    """Return a code that is invalid now and up to two time steps earlier or later."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    return next(f"{number:06}" for number in range(100) if not totp.verify(number, tolerance=2))


@pytest.fixture
def device(owner: User) -> Any:
    """Return the owner's confirmed device. It is created without signals, so that the audit trail stays empty."""
    return TOTPDevice.objects.bulk_create([TOTPDevice(user=owner, name="app", confirmed=True)])[0]


def log_in(browser: Browser, **form: str) -> Any:
    """Submit the admin's login form with the owner's username and password."""
    return browser.post("/admin/login/?next=/admin/", {"username": "owner", "password": PASSWORD, **form})


def request_token(client: TestClient, **form: str) -> tuple[int, str | None]:
    """Request an access token for the owner. Return the status and the error code."""
    response = client.post("/api/token", data={"username": "owner", "password": PASSWORD, **form})
    return response.status_code, response.json().get("code")


def audit_trail() -> list[tuple[str, str, str, str | None]]:
    """Return (action, reason, object or actor, ip_address) of each entry except logins, oldest first."""
    events = AuditEvent.objects.exclude(action=AuditAction.LOGGED_IN).order_by("pk")
    return [(event.action, event.reason, event.object or event.actor, event.ip_address) for event in events]


# Login to the admin


def test_logs_in_with_the_password_alone_without_two_factor(owner: User) -> None:
    assert log_in(Browser()).headers["Location"] == "/admin/"


def test_logs_in_with_a_code(device: Any) -> None:
    assert log_in(Browser(), otp=current_code(device)).headers["Location"] == "/admin/"


def test_rejects_the_password_without_a_code(device: Any) -> None:
    browser = Browser()

    page = log_in(browser)

    assert "A two-factor code is required." in page.content.decode()
    assert "sessionid" not in browser.cookies


def test_rejects_an_incorrect_code(device: Any) -> None:
    browser = Browser()

    page = log_in(browser, otp=incorrect_code(device))

    assert "The code is incorrect" in page.content.decode()
    assert "sessionid" not in browser.cookies


def test_checks_the_code_only_after_a_correct_password(device: Any) -> None:
    page = log_in(Browser(), password="wrong", otp=current_code(device)).content.decode()

    assert "correct username and password" in page
    assert "The code is incorrect" not in page


def test_rejects_a_code_that_was_used_before(device: Any) -> None:
    code = current_code(device)
    log_in(Browser(), otp=code)

    assert "The code is incorrect" in log_in(Browser(), otp=code).content.decode()


# Login for an access token


@pytest.mark.parametrize("form", [{}, {"otp": ""}])
def test_issues_no_token_without_a_code(form: dict[str, str], device: Any, client: TestClient) -> None:
    assert request_token(client, **form) == (403, "two_factor_required")


def test_issues_no_token_for_an_incorrect_code(device: Any, client: TestClient) -> None:
    assert request_token(client, otp=incorrect_code(device)) == (403, "two_factor_required")


def test_issues_a_token_for_a_code(device: Any, client: TestClient) -> None:
    assert request_token(client, otp=current_code(device)) == (200, None)


def test_reports_a_wrong_password_before_a_missing_code(device: Any, client: TestClient) -> None:
    assert request_token(client, password="wrong") == (401, "not_authenticated")


# Setup


def test_setup_shows_a_qr_code_and_the_setup_key(browser: Browser, owner: User) -> None:
    page = browser.get(SETUP_URL).content.decode()

    secret = "".join(re.findall(r"<code>([A-Z2-7 ]+)</code>", page)[0].split())
    assert secret in TOTPDevice.objects.get(user=owner).config_url
    assert "<svg" in page
    assert "<script>" not in page


def test_a_code_enables_two_factor(browser: Browser, owner: User) -> None:
    browser.get(SETUP_URL)

    page = browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert "Two-factor login is on." in page.content.decode()
    assert owner.device is not None


def test_an_incorrect_code_does_not_enable_two_factor_and_keeps_the_secret(browser: Browser, owner: User) -> None:
    browser.get(SETUP_URL)
    pending = TOTPDevice.objects.get()

    page = browser.post(SETUP_URL, {"otp": incorrect_code(pending)})

    assert "The code is incorrect" in page.content.decode()
    assert owner.device is None
    assert TOTPDevice.objects.get().key == pending.key


def test_reopening_the_setup_invalidates_the_previous_secret(browser: Browser, owner: User) -> None:
    browser.get(SETUP_URL)
    code = current_code(TOTPDevice.objects.get())
    browser.get(SETUP_URL)

    browser.post(SETUP_URL, {"otp": code})

    assert owner.device is None


def test_enabling_two_factor_ends_other_sessions_and_tokens(browser: Browser, owner: User) -> None:
    other = Browser()
    other.force_login(owner)
    token = issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text
    browser.get(SETUP_URL)

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert browser.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
    with pytest.raises(NotAuthenticated):
        authenticate_access_token(token)


def test_a_code_disables_two_factor(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP_URL, {"otp": current_code(device)})

    assert owner.device is None
    assert browser.get("/admin/").status_code == 200


def test_an_incorrect_code_does_not_disable_two_factor(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP_URL, {"otp": incorrect_code(device)})

    assert owner.device is not None


def test_redirects_an_anonymous_visitor_to_the_login(db: None) -> None:
    assert Browser().get(SETUP_URL).headers["Location"] == f"/admin/login/?next={SETUP_URL}"


# REQUIRE_2FA


@pytest.fixture
def _required(settings: Settings) -> None:
    settings.REQUIRE_2FA = True


@pytest.mark.usefixtures("_required")
def test_redirects_users_without_a_device_to_the_setup(browser: Browser) -> None:
    page = browser.get("/admin/emails/email/", follow=True)

    assert page.redirect_chain[-1][0] == SETUP_URL
    assert "Set up two-factor login to continue." in page.content.decode()


@pytest.mark.usefixtures("_required")
def test_opens_the_admin_after_the_setup(browser: Browser) -> None:
    browser.get(SETUP_URL)

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert "Dashboard" in browser.get("/admin/").content.decode()


@pytest.mark.usefixtures("_required")
def test_the_api_rejects_a_session_without_a_device(browser: Browser, client: TestClient) -> None:
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)

    assert client.get("/api/me").status_code == 401


@pytest.mark.usefixtures("_required")
def test_issues_no_token_without_a_device(owner: User, client: TestClient) -> None:
    assert request_token(client) == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_two_factor_cannot_be_disabled_while_required(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    assert browser.post(SETUP_URL, {"otp": current_code(device)}).status_code == 403
    assert owner.device is not None


@pytest.fixture
def sender(db: None) -> User:
    """Return a user who is not staff, and may send emails."""
    user = User.objects.create_user("sender", password=PASSWORD)
    user.user_permissions.add(Permission.objects.get(codename="add_email"))
    return user


@pytest.mark.usefixtures("_required")
def test_issues_no_token_for_a_user_with_a_permission_who_is_not_staff(sender: User, client: TestClient) -> None:
    assert request_token(client, username="sender") == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_issues_no_token_for_a_user_whose_group_has_a_permission(owner: User, client: TestClient) -> None:
    group = Group.objects.create(name="senders")
    group.permissions.add(Permission.objects.get(codename="add_email"))
    User.objects.create_user("member", password=PASSWORD).groups.add(group)

    assert request_token(client, username="member") == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_users_without_permissions_need_no_device(db: None, client: TestClient) -> None:
    User.objects.create_user("guest", password=PASSWORD)

    assert request_token(client, username="guest") == (200, None)


@pytest.mark.usefixtures("_required")
def test_the_api_rejects_the_session_of_a_user_who_is_not_staff(sender: User, client: TestClient) -> None:
    browser = Browser()
    browser.force_login(sender)
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)

    assert client.get("/api/me").status_code == 401


def test_a_token_is_rejected_when_two_factor_becomes_required(sender: User, client: TestClient, settings: Settings) -> None:
    token = issue_access_token(RequestFactory().post("/"), username="sender", password=PASSWORD).text
    settings.REQUIRE_2FA = True

    with pytest.raises(NotAuthenticated, match="Two-factor login is required"):
        authenticate_access_token(token)


@pytest.mark.usefixtures("_required")
def test_a_user_who_is_not_staff_can_set_up_two_factor_and_nothing_else(sender: User, client: TestClient) -> None:
    browser = Browser()
    page = browser.post("/admin/login/?next=/admin/", {"username": "sender", "password": PASSWORD}, follow=True)
    assert page.redirect_chain[-1][0] == SETUP_URL

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert sender.device is not None
    assert browser.get("/admin/", follow=True).redirect_chain[-1][0] == SETUP_URL
    assert browser.get("/admin/emails/email/", follow=True).redirect_chain[-1][0] == SETUP_URL


def test_a_user_who_is_not_staff_cannot_log_in_to_the_admin_without_the_requirement(sender: User) -> None:
    browser = Browser()

    page = browser.post("/admin/login/", {"username": "sender", "password": PASSWORD})

    assert "for a staff account" in page.content.decode()
    assert "sessionid" not in browser.cookies


# A lost device


def test_the_command_disables_two_factor(owner: User, device: Any) -> None:
    call_command("disable_two_factor", "owner")

    assert log_in(Browser()).headers["Location"] == "/admin/"


@pytest.mark.parametrize("username", ["owner", "unknown"])
def test_the_command_fails_without_a_user_or_device(username: str, owner: User) -> None:
    with pytest.raises(CommandError, match="does not exist or does not use two-factor login"):
        call_command("disable_two_factor", username)


# Incorrect codes are failed logins


def test_records_an_incorrect_code_in_the_admin(device: Any) -> None:
    log_in(Browser(REMOTE_ADDR=CLIENT_IP), otp=incorrect_code(device))

    assert audit_trail() == [(AuditAction.REJECTED, "wrong code", "owner", CLIENT_IP)]


def test_records_an_incorrect_code_for_a_token(device: Any, client: TestClient) -> None:
    request_token(TestClient(client.app, client=(CLIENT_IP, 1)), otp=incorrect_code(device))

    assert audit_trail() == [(AuditAction.REJECTED, "wrong code", "owner", CLIENT_IP)]


def test_the_audit_trail_contains_no_submitted_code(device: Any) -> None:
    incorrect = incorrect_code(device)

    log_in(Browser(), otp=incorrect)

    assert incorrect not in str(list(AuditEvent.objects.values_list("action", "reason", "actor")))


@pytest.mark.parametrize("window", [0.0, 60.0])
def test_records_a_missing_code_once_a_minute(
    window: float, device: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    monkeypatch.setattr(deduplication, "WINDOW_SECONDS", window)

    request_token(TestClient(client.app, client=(CLIENT_IP, 1)))
    log_in(Browser(REMOTE_ADDR=CLIENT_IP))

    assert audit_trail() == [(AuditAction.REJECTED, "no code", "owner", CLIENT_IP)] * (1 if window else 2)


def test_a_missing_code_does_not_count_towards_the_lockout(device: Any, client: TestClient, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1

    for _ in range(2):
        assert request_token(client) == (403, "two_factor_required")


def test_incorrect_codes_lock_the_user_in_the_admin_and_the_api(device: Any, client: TestClient, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 2
    incorrect = incorrect_code(device)
    client = TestClient(client.app, client=(LOCAL, 1))

    assert request_token(client, otp=incorrect) == (403, "two_factor_required")
    assert request_token(client, otp=incorrect) == (429, "locked_out")
    assert log_in(Browser(), otp=current_code(device)).status_code == 429


def test_the_incorrect_code_that_reaches_the_limit_gets_a_429(device: Any, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1

    assert log_in(Browser(), otp=incorrect_code(device)).status_code == 429


def test_a_correct_password_does_not_reset_incorrect_codes(device: Any, client: TestClient, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 2
    request_token(client, otp=incorrect_code(device))
    request_token(client)

    assert request_token(client, otp=incorrect_code(device)) == (429, "locked_out")


def test_the_lockout_bounds_the_rows_of_a_flood_of_incorrect_codes(
    device: Any, client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    settings.LOGIN_MAX_FAILURES = 2

    for _ in range(5):
        request_token(client, otp=incorrect_code(device))

    assert sorted(reason for _action, reason, _actor, _ip_address in audit_trail()) == ["locked out", "wrong code", "wrong code"]


# Audit trail


def test_audits_enabling_two_factor(browser: Browser, owner: User) -> None:
    browser.get(SETUP_URL)
    assert audit_trail() == []

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert audit_trail()[0] == (AuditAction.TWO_FACTOR_ENABLED, "", "owner", LOCAL)


def test_a_login_is_not_audited_as_enabling_two_factor(device: Any) -> None:
    assert log_in(Browser(), otp=current_code(device)).status_code == 302

    assert audit_trail() == []


def test_audits_disabling_two_factor(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP_URL, {"otp": current_code(device)})

    assert audit_trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "owner", LOCAL)]


def test_audits_disabling_two_factor_with_the_command(device: Any) -> None:
    call_command("disable_two_factor", "owner")

    assert audit_trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "owner", None)]


@pytest.fixture
def other_device(teammate: User) -> Any:
    """Return the teammate's confirmed device. It is created without signals, so that the audit trail stays empty."""
    return TOTPDevice.objects.bulk_create([TOTPDevice(user=teammate, name="app", confirmed=True)])[0]


def test_audits_deleting_the_device_of_another_user(browser: Browser, other_device: Any) -> None:
    browser.post(f"/admin/otp_totp/totpdevice/{other_device.pk}/delete/", {"post": "yes"})

    assert not TOTPDevice.objects.exists()
    assert audit_trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", LOCAL)]


def submit_device_form(browser: Browser, device: Any, **form: Any) -> None:
    """Submit the admin's change form of a device."""
    defaults = {"name": "app", "step": 30, "t0": 0, "digits": 6, "tolerance": 1, "drift": 0, "throttling_failure_count": 0}
    response = browser.post(f"/admin/otp_totp/totpdevice/{device.pk}/change/", {**defaults, **form})
    assert response.status_code == 302


def test_audits_unconfirming_the_device_of_another_user(browser: Browser, other_device: Any) -> None:
    submit_device_form(browser, other_device, user=other_device.user_id)

    assert audit_trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", LOCAL)]


def test_audits_moving_a_device_to_another_user(browser: Browser, other_device: Any, owner: User) -> None:
    submit_device_form(browser, other_device, user=owner.pk, confirmed="on")

    assert audit_trail() == [
        (AuditAction.TWO_FACTOR_DISABLED, "", "teammate", LOCAL),
        (AuditAction.TWO_FACTOR_ENABLED, "", "owner", LOCAL),
    ]


def test_audits_deleting_a_user_with_a_device(other_device: Any, teammate: User) -> None:
    teammate.delete()

    assert audit_trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", None)]


def test_does_not_record_an_unfinished_setup(browser: Browser) -> None:
    browser.get(SETUP_URL)
    browser.get(SETUP_URL)

    assert audit_trail() == []
