"""Two-factor login: setup, verification and disabling."""

import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.test import RequestFactory
from django_otp.plugins.otp_totp.models import TOTPDevice
from starlette.testclient import TestClient

from project.accounts.models import User
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import NotAuthenticated
from tests.conftest import PASSWORD
from tests.project.accounts.two_factor_steps import (
    SETUP_URL,
    current_code,
    incorrect_code,
    log_in,
    request_token,
)

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


# A lost device


def test_the_command_disables_two_factor(owner: User, device: Any) -> None:
    call_command("disable_two_factor", "owner")

    assert log_in(Browser()).headers["Location"] == "/admin/"


@pytest.mark.parametrize("username", ["owner", "unknown"])
def test_the_command_fails_without_a_user_or_device(username: str, owner: User) -> None:
    with pytest.raises(CommandError, match="does not exist or does not use two-factor login"):
        call_command("disable_two_factor", username)
