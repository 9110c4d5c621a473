"""Two-factor login in the audit trail and in the lockout."""

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client as Browser
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.audit import deduplication, signals
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from tests.project.accounts.two_factor_steps import (
    CLIENT_IP,
    LOCAL,
    SETUP_URL,
    audit_trail,
    current_code,
    incorrect_code,
    log_in,
    request_token,
)

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
