"""Two-factor login: set up, asked for, required, and turned off."""

import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.test import RequestFactory
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.accounts.principal import NotAuthenticated
from project.accounts.tokens import issue_token, principal_of_token
from tests.conftest import PASSWORD

SETUP = "/admin/two-factor/"


def code_of(device: TOTPDevice) -> str:
    """What the app shows now."""
    return f"{TOTP(device.bin_key, device.step, device.t0, device.digits).token():06}"


def wrong_code_of(device: TOTPDevice) -> str:
    """What it does not show, before long or since not long ago."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    return next(f"{number:06}" for number in range(100) if not totp.verify(number, tolerance=2))


@pytest.fixture
def device(owner: User) -> Any:
    """The owner's app, which was set up."""
    return TOTPDevice.objects.create(user=owner, name="app", confirmed=True)


def log_in(browser: Browser, **form: str) -> Any:
    """Send the admin's login form, as the owner."""
    return browser.post("/admin/login/?next=/admin/", {"username": "owner", "password": PASSWORD, **form})


def ask_for_token(client: TestClient, **form: str) -> tuple[int, str | None]:
    """The status and the code of what the API answers to the owner."""
    answer = client.post("/api/token", data={"username": "owner", "password": PASSWORD, **form})
    return answer.status_code, answer.json().get("code")


# In the admin


def test_who_has_not_set_it_up_signs_in_with_the_password(owner: User) -> None:
    assert log_in(Browser()).headers["Location"] == "/admin/"


def test_who_has_set_it_up_signs_in_with_a_code(device: Any) -> None:
    assert log_in(Browser(), otp=code_of(device)).headers["Location"] == "/admin/"


def test_the_password_alone_does_not_do(device: Any) -> None:
    browser = Browser()

    page = log_in(browser)

    assert "signs in with a code" in page.content.decode()
    assert "sessionid" not in browser.cookies


def test_a_wrong_code_does_not_do(device: Any) -> None:
    browser = Browser()

    page = log_in(browser, otp=wrong_code_of(device))

    assert "The code is wrong" in page.content.decode()
    assert "sessionid" not in browser.cookies


def test_nothing_is_told_about_a_code_before_the_password_is_right(device: Any) -> None:
    page = log_in(Browser(), password="wrong", otp=code_of(device)).content.decode()

    assert "correct username and password" in page
    assert "The code is wrong" not in page


def test_a_code_is_good_once(device: Any) -> None:
    code = code_of(device)
    log_in(Browser(), otp=code)

    assert "The code is wrong" in log_in(Browser(), otp=code).content.decode()


# For a token


@pytest.mark.parametrize("form", [{}, {"otp": ""}])
def test_a_token_needs_a_code(form: dict[str, str], device: Any, client: TestClient) -> None:
    assert ask_for_token(client, **form) == (403, "two_factor_required")


def test_a_token_needs_the_right_code(device: Any, client: TestClient) -> None:
    assert ask_for_token(client, otp=wrong_code_of(device)) == (403, "two_factor_required")


def test_a_token_is_given_for_a_code(device: Any, client: TestClient) -> None:
    assert ask_for_token(client, otp=code_of(device)) == (200, None)


def test_a_wrong_password_is_told_of_first(device: Any, client: TestClient) -> None:
    assert ask_for_token(client, password="wrong") == (401, "not_authenticated")


# Setting it up


def test_the_app_is_shown_a_picture_and_a_secret(browser: Browser, owner: User) -> None:
    page = browser.get(SETUP).content.decode()

    secret = "".join(re.findall(r"<code>([A-Z2-7 ]+)</code>", page)[0].split())
    assert secret in TOTPDevice.objects.get(user=owner).config_url
    assert "<svg" in page
    assert "<script>" not in page


def test_a_code_turns_it_on(browser: Browser, owner: User) -> None:
    browser.get(SETUP)

    page = browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert "Two-factor login is on." in page.content.decode()
    assert owner.device is not None


def test_a_wrong_code_does_not_turn_it_on_and_keeps_the_secret(browser: Browser, owner: User) -> None:
    browser.get(SETUP)
    pending = TOTPDevice.objects.get()

    page = browser.post(SETUP, {"otp": wrong_code_of(pending)})

    assert "The code is wrong" in page.content.decode()
    assert owner.device is None
    assert TOTPDevice.objects.get().key == pending.key


def test_a_secret_that_was_shown_before_is_good_no_more(browser: Browser, owner: User) -> None:
    browser.get(SETUP)
    code = code_of(TOTPDevice.objects.get())
    browser.get(SETUP)

    browser.post(SETUP, {"otp": code})

    assert owner.device is None


def test_turning_it_on_ends_other_sessions_and_tokens(browser: Browser, owner: User) -> None:
    other = Browser()
    other.force_login(owner)
    token = issue_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text
    browser.get(SETUP)

    browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert browser.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
    with pytest.raises(NotAuthenticated):
        principal_of_token(token)


def test_a_code_turns_it_off(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP, {"otp": code_of(device)})

    assert owner.device is None
    assert browser.get("/admin/").status_code == 200


def test_a_wrong_code_does_not_turn_it_off(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP, {"otp": wrong_code_of(device)})

    assert owner.device is not None


def test_a_stranger_is_sent_to_the_login(db: None) -> None:
    assert Browser().get(SETUP).headers["Location"] == f"/admin/login/?next={SETUP}"


# Where it is required


@pytest.fixture
def _required(settings: Settings) -> None:
    settings.REQUIRE_2FA = True


@pytest.mark.usefixtures("_required")
def test_who_has_no_app_sees_the_setup_alone(browser: Browser) -> None:
    page = browser.get("/admin/outbox/email/", follow=True)

    assert page.redirect_chain[-1][0] == SETUP
    assert "You go on when two-factor login is set up" in page.content.decode()


@pytest.mark.usefixtures("_required")
def test_who_sets_it_up_goes_on(browser: Browser) -> None:
    browser.get(SETUP)

    browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert "Back office" in browser.get("/admin/").content.decode()


@pytest.mark.usefixtures("_required")
def test_the_api_takes_no_session_without_it(browser: Browser, client: TestClient) -> None:
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)

    assert client.get("/api/me").status_code == 401


@pytest.mark.usefixtures("_required")
def test_there_is_no_token_without_it(owner: User, client: TestClient) -> None:
    assert ask_for_token(client) == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_it_cannot_be_turned_off(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    assert browser.post(SETUP, {"otp": code_of(device)}).status_code == 403
    assert owner.device is not None


@pytest.mark.usefixtures("_required")
def test_who_may_not_enter_the_admin_needs_none(client: TestClient, owner: User) -> None:
    User.objects.update(is_staff=False)

    assert ask_for_token(client) == (200, None)


# Lost


def test_a_lost_app_is_forgotten_by_a_command(owner: User, device: Any) -> None:
    call_command("turn_off_two_factor", "owner")

    assert log_in(Browser()).headers["Location"] == "/admin/"


@pytest.mark.parametrize("username", ["owner", "nobody"])
def test_the_command_says_if_there_is_nothing_to_forget(username: str, owner: User) -> None:
    with pytest.raises(CommandError, match="no such user, or no two-factor login"):
        call_command("turn_off_two_factor", username)
