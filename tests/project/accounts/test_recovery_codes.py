"""Recovery codes: they are shown once, each code can replace the app's code once, and users can renew their codes."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.accounts.recovery_codes import create_recovery_codes
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

CODE_IN_HTML = re.compile(r"<code>(\d{4} \d{4} \d{4})</code>")


@pytest.fixture
def device(owner: User) -> TOTPDevice:
    """Return the owner's confirmed two-factor device."""
    device: TOTPDevice = TOTPDevice.objects.create(user=owner, name="app", confirmed=True)
    return device


@pytest.fixture
def codes(owner: User, device: TOTPDevice) -> list[str]:
    """Create recovery codes for the owner, and return the codes."""
    return create_recovery_codes(owner)


@pytest.fixture
def browser(owner: User, codes: list[str]) -> Browser:
    """Return a browser logged in as the owner, who has a device and recovery codes."""
    browser = Browser()
    browser.force_login(owner)
    return browser


def can_log_in(**form: str) -> bool:
    """Return whether the owner can log in to the admin with the password and these form fields."""
    return bool(log_in(Browser(), **form).status_code == 302)


def reset_throttling() -> None:
    """Skip the waiting time after an invalid code."""
    StaticDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(seconds=10))


def invalid_code(codes: list[str]) -> str:
    """Return a well-formed recovery code that is not in `codes`."""
    normalized = {code.replace(" ", "") for code in codes}
    return next(code for code in (f"{number:012}" for number in range(20)) if code not in normalized)


# Display


def test_setup_shows_ten_codes(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP_URL)

    page = browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    codes = CODE_IN_HTML.findall(page.content.decode())
    assert len(set(codes)) == 10
    assert "no-store" in page.headers["Cache-Control"]
    assert can_log_in(otp=codes[0])


def test_shows_only_the_number_of_codes_left_later(browser: Browser, codes: list[str]) -> None:
    page = browser.get(SETUP_URL).content.decode()

    assert CODE_IN_HTML.findall(page) == []
    assert "10 recovery codes left" in page


def test_an_incorrect_code_creates_no_recovery_codes(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP_URL)

    page = browser.post(SETUP_URL, {"otp": incorrect_code(TOTPDevice.objects.get())})

    assert CODE_IN_HTML.findall(page.content.decode()) == []
    assert not StaticToken.objects.exists()


def test_stores_only_hashes(codes: list[str]) -> None:
    stored = set(StaticToken.objects.values_list("token", flat=True))

    assert len(stored) == 10
    assert not stored & {code.replace(" ", "") for code in codes}


def test_the_admin_shows_no_hashes(browser: Browser) -> None:
    page = browser.get(f"/admin/otp_static/staticdevice/{StaticDevice.objects.get().pk}/change/").content.decode()

    assert [token for token in StaticToken.objects.values_list("token", flat=True) if token in page] == []


# Use


@pytest.mark.parametrize("template", ["{}", " {} "])
def test_a_recovery_code_replaces_the_apps_code(codes: list[str], template: str) -> None:
    assert can_log_in(otp=template.format(codes[3]))


@pytest.mark.parametrize("separator", ["", "-"])
def test_accepts_a_recovery_code_without_spaces_or_with_hyphens(codes: list[str], separator: str) -> None:
    assert can_log_in(otp=codes[3].replace(" ", separator))


def test_each_code_works_once(codes: list[str]) -> None:
    can_log_in(otp=codes[0])

    assert not can_log_in(otp=codes[0])
    reset_throttling()
    assert can_log_in(otp=codes[1])


def test_rejects_an_invalid_code(codes: list[str]) -> None:
    assert not can_log_in(otp=invalid_code(codes))


def test_an_invalid_code_blocks_all_codes_for_a_moment(codes: list[str]) -> None:
    can_log_in(otp=invalid_code(codes))

    assert not can_log_in(otp=codes[0])
    reset_throttling()
    assert can_log_in(otp=codes[0])


def test_an_invalid_recovery_code_does_not_block_the_app(codes: list[str], device: TOTPDevice) -> None:
    can_log_in(otp=invalid_code(codes))

    assert can_log_in(otp=current_code(device))


def test_a_wrong_password_does_not_use_up_the_recovery_code(codes: list[str]) -> None:
    assert not can_log_in(password="wrong", otp=codes[0])
    assert StaticToken.objects.count() == 10


def test_rejects_the_code_of_another_user(codes: list[str], teammate: User) -> None:
    assert not can_log_in(otp=create_recovery_codes(teammate)[0])


def test_issues_a_token_for_a_recovery_code_once(codes: list[str], client: TestClient) -> None:
    assert request_token(client, otp=codes[0]) == (200, None)
    assert request_token(client, otp=codes[0]) == (403, "two_factor_required")


# Renewal


@pytest.mark.parametrize("required", [False, True])
def test_renewing_replaces_the_codes(browser: Browser, codes: list[str], required: bool, settings: Settings) -> None:
    settings.REQUIRE_2FA = required

    page = browser.post(SETUP_URL, {"otp": codes[0], "renew": "yes"})

    new = CODE_IN_HTML.findall(page.content.decode())
    assert len(set(new) - set(codes)) == 10
    assert not can_log_in(otp=codes[1])
    reset_throttling()
    assert can_log_in(otp=new[0])
    assert browser.get("/admin/").status_code == 200


def test_renews_the_codes_with_the_apps_code(browser: Browser, device: TOTPDevice) -> None:
    page = browser.post(SETUP_URL, {"otp": current_code(device), "renew": "yes"})

    assert len(CODE_IN_HTML.findall(page.content.decode())) == 10


def test_an_invalid_code_does_not_renew_the_recovery_codes(browser: Browser, codes: list[str]) -> None:
    page = browser.post(SETUP_URL, {"otp": invalid_code(codes), "renew": "yes"})

    assert "The code is incorrect" in page.content.decode()
    reset_throttling()
    assert can_log_in(otp=codes[0])


def test_creates_recovery_codes_for_a_user_without_codes(browser: Browser, device: TOTPDevice) -> None:
    StaticDevice.objects.all().delete()

    assert "0 recovery codes left" in browser.get(SETUP_URL).content.decode()
    assert (
        len(CODE_IN_HTML.findall(browser.post(SETUP_URL, {"otp": current_code(device), "renew": "yes"}).content.decode())) == 10
    )


# Disabling


def test_disables_two_factor_with_a_recovery_code(browser: Browser, codes: list[str], owner: User) -> None:
    browser.post(SETUP_URL, {"otp": codes[0]})

    assert owner.device is None


def test_disabling_two_factor_deletes_the_codes(browser: Browser, codes: list[str]) -> None:
    browser.post(SETUP_URL, {"otp": codes[0]})

    assert not StaticToken.objects.exists()


def test_recovery_codes_do_not_replace_a_required_device(owner: User, client: TestClient, settings: Any) -> None:
    settings.REQUIRE_2FA = True

    assert request_token(client, otp=create_recovery_codes(owner)[0]) == (403, "two_factor_required")


# Audit trail


@pytest.fixture
def _empty_audit_trail(codes: list[str]) -> None:
    """Clear the audit trail after the codes were created."""
    AuditEvent.objects.all().delete()


def test_records_codes_created_by_the_setup(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP_URL)

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert audit_trail()[1:] == [(AuditAction.RECOVERY_CODES_CREATED, "", "owner", LOCAL)]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_records_renewed_codes(browser: Browser, device: TOTPDevice) -> None:
    browser.post(SETUP_URL, {"otp": current_code(device), "renew": "yes"})

    assert audit_trail() == [(AuditAction.RECOVERY_CODES_CREATED, "", "owner", LOCAL)]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_records_a_code_used_in_the_admin(codes: list[str]) -> None:
    log_in(Browser(REMOTE_ADDR=CLIENT_IP), otp=codes[0])

    assert audit_trail() == [(AuditAction.RECOVERY_CODE_USED, "", "owner", CLIENT_IP)]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_records_a_code_used_for_a_token(codes: list[str], client: TestClient) -> None:
    request_token(TestClient(client.app, client=(CLIENT_IP, 1)), otp=codes[0])

    assert audit_trail() == [(AuditAction.RECOVERY_CODE_USED, "", "owner", CLIENT_IP)]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_records_a_code_used_to_renew_the_codes(browser: Browser, codes: list[str]) -> None:
    browser.post(SETUP_URL, {"otp": codes[0], "renew": "yes"})

    assert [action for action, *_ in audit_trail()] == [AuditAction.RECOVERY_CODE_USED, AuditAction.RECOVERY_CODES_CREATED]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_does_not_record_deleted_codes_as_used(device: TOTPDevice, browser: Browser) -> None:
    browser.post(SETUP_URL, {"otp": current_code(device)})

    assert [action for action, *_ in audit_trail()] == [AuditAction.TWO_FACTOR_DISABLED]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_records_an_invalid_code(codes: list[str]) -> None:
    log_in(Browser(REMOTE_ADDR=CLIENT_IP), otp=invalid_code(codes))

    assert audit_trail() == [(AuditAction.REJECTED, "wrong code", "owner", CLIENT_IP)]


@pytest.mark.usefixtures("_empty_audit_trail")
def test_the_audit_trail_contains_no_recovery_code(codes: list[str]) -> None:
    log_in(Browser(), otp=codes[0])
    log_in(Browser(), otp=invalid_code(codes))

    recorded = str(list(AuditEvent.objects.values_list("action", "reason", "actor")))
    stored = StaticToken.objects.values_list("token", flat=True)
    assert [text for text in (*codes, *(code.replace(" ", "") for code in codes), *stored) if text in recorded] == []
