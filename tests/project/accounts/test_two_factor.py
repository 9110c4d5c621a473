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
from project.audit import deduplication, signals
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import NotAuthenticated
from tests.conftest import PASSWORD

SETUP = "/admin/two-factor/"
ADDRESS = "198.51.100.7"


def code_of(device: TOTPDevice) -> str:
    """What the app shows now."""
    return f"{TOTP(device.bin_key, device.step, device.t0, device.digits).token():06}"


def wrong_code_of(device: TOTPDevice) -> str:
    """What it does not show, before long or since not long ago."""
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    return next(f"{number:06}" for number in range(100) if not totp.verify(number, tolerance=2))


@pytest.fixture
def device(owner: User) -> Any:
    """The owner's app, which was set up before there was a trail."""
    return TOTPDevice.objects.bulk_create([TOTPDevice(user=owner, name="app", confirmed=True)])[0]


def log_in(browser: Browser, **form: str) -> Any:
    """Send the admin's login form, as the owner."""
    return browser.post("/admin/login/?next=/admin/", {"username": "owner", "password": PASSWORD, **form})


def ask_for_token(client: TestClient, **form: str) -> tuple[int, str | None]:
    """The status and the code of what the API answers to the owner."""
    answer = client.post("/api/token", data={"username": "owner", "password": PASSWORD, **form})
    return answer.status_code, answer.json().get("code")


def trail() -> list[tuple[str, str, str, str | None]]:
    """What is written down but for who signs in, oldest first."""
    events = AuditEvent.objects.exclude(action=AuditAction.SIGNED_IN).order_by("pk")
    return list(events.values_list("action", "reason", "actor", "ip_address"))


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
    token = issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text
    browser.get(SETUP)

    browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert browser.get("/admin/").status_code == 200
    assert other.get("/admin/").status_code == 302
    with pytest.raises(NotAuthenticated):
        authenticate_access_token(token)


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
    page = browser.get("/admin/emails/email/", follow=True)

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
    call_command("disable_two_factor", "owner")

    assert log_in(Browser()).headers["Location"] == "/admin/"


@pytest.mark.parametrize("username", ["owner", "nobody"])
def test_the_command_says_if_there_is_nothing_to_forget(username: str, owner: User) -> None:
    with pytest.raises(CommandError, match="no such user, or no two-factor login"):
        call_command("disable_two_factor", username)


# Wrong codes are failed logins


def test_a_wrong_code_in_the_admin_is_written_down(device: Any) -> None:
    log_in(Browser(REMOTE_ADDR=ADDRESS), otp=wrong_code_of(device))

    assert trail() == [(AuditAction.REJECTED, "wrong code", "owner", ADDRESS)]


def test_a_wrong_code_for_a_token_is_written_down(device: Any, client: TestClient) -> None:
    ask_for_token(TestClient(client.app, client=(ADDRESS, 1)), otp=wrong_code_of(device))

    assert trail() == [(AuditAction.REJECTED, "wrong code", "owner", ADDRESS)]


def test_no_code_that_came_is_in_the_trail(device: Any) -> None:
    wrong = wrong_code_of(device)

    log_in(Browser(), otp=wrong)

    assert wrong not in str(list(AuditEvent.objects.values_list("action", "reason", "actor")))


@pytest.mark.parametrize("minute", [0.0, 60.0])
def test_a_right_password_without_a_code_is_written_down_once_a_minute(
    minute: float, device: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    monkeypatch.setattr(deduplication, "WINDOW_SECONDS", minute)

    ask_for_token(TestClient(client.app, client=(ADDRESS, 1)))
    log_in(Browser(REMOTE_ADDR=ADDRESS))

    assert trail() == [(AuditAction.REJECTED, "no code", "owner", ADDRESS)] * (1 if minute else 2)


def test_who_sends_no_code_is_only_asked_for_one(device: Any, client: TestClient, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 1

    for _ in range(2):
        assert ask_for_token(client) == (403, "two_factor_required")


def test_wrong_codes_lock_the_user_in_both_halves(device: Any, client: TestClient, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    wrong = wrong_code_of(device)

    assert ask_for_token(client, otp=wrong) == (403, "two_factor_required")
    assert ask_for_token(client, otp=wrong) == (429, "locked_out")
    assert log_in(Browser(), otp=code_of(device)).status_code == 429


def test_the_wrong_code_that_locks_the_admin_is_answered_so(device: Any, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 1

    assert log_in(Browser(), otp=wrong_code_of(device)).status_code == 429


def test_the_password_alone_does_not_take_back_wrong_codes(device: Any, client: TestClient, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    ask_for_token(client, otp=wrong_code_of(device))
    ask_for_token(client)

    assert ask_for_token(client, otp=wrong_code_of(device)) == (429, "locked_out")


def test_a_flood_of_wrong_codes_ends_with_the_lock(
    device: Any, client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_recent", RecentEvents())
    settings.AXES_FAILURE_LIMIT = 2

    for _ in range(5):
        ask_for_token(client, otp=wrong_code_of(device))

    assert sorted(reason for _fact, reason, _name, _address in trail()) == ["locked out", "wrong code", "wrong code"]


# That it is turned on and off is written down


def test_to_turn_it_on_is_written_down(browser: Browser, owner: User) -> None:
    browser.get(SETUP)
    assert trail() == []

    browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert trail()[0] == (AuditAction.TWO_FACTOR_ENABLED, "", "owner", None)


def test_to_sign_in_with_it_is_not_to_turn_it_on(device: Any) -> None:
    assert log_in(Browser(), otp=code_of(device)).status_code == 302

    assert trail() == []


def test_to_turn_it_off_is_written_down(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    browser.post(SETUP, {"otp": code_of(device)})

    assert trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "owner", None)]


def test_to_turn_it_off_by_command_is_written_down(device: Any) -> None:
    call_command("disable_two_factor", "owner")

    assert trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "owner", None)]


@pytest.fixture
def anothers(teammate: User) -> Any:
    """The teammate's app, which was set up before there was a trail."""
    return TOTPDevice.objects.bulk_create([TOTPDevice(user=teammate, name="app", confirmed=True)])[0]


def test_to_take_anothers_device_away_is_written_down(browser: Browser, anothers: Any) -> None:
    browser.post(f"/admin/otp_totp/totpdevice/{anothers.pk}/delete/", {"post": "yes"})

    assert not TOTPDevice.objects.exists()
    assert trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", None)]


def change(browser: Browser, device: Any, **form: Any) -> None:
    """Send the admin's form about a device."""
    kept = {"name": "app", "step": 30, "t0": 0, "digits": 6, "tolerance": 1, "drift": 0, "throttling_failure_count": 0}
    answer = browser.post(f"/admin/otp_totp/totpdevice/{device.pk}/change/", {**kept, **form})
    assert answer.status_code == 302


def test_that_staff_let_a_device_count_no_more_is_written_down(browser: Browser, anothers: Any) -> None:
    change(browser, anothers, user=anothers.user_id)

    assert trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", None)]


def test_that_staff_give_a_device_to_another_is_written_down(browser: Browser, anothers: Any, owner: User) -> None:
    change(browser, anothers, user=owner.pk, confirmed="on")

    assert trail() == [
        (AuditAction.TWO_FACTOR_DISABLED, "", "teammate", None),
        (AuditAction.TWO_FACTOR_ENABLED, "", "owner", None),
    ]


def test_that_it_ends_with_the_user_is_written_down(anothers: Any, teammate: User) -> None:
    teammate.delete()

    assert trail() == [(AuditAction.TWO_FACTOR_DISABLED, "", "teammate", None)]


def test_a_device_that_was_only_begun_is_not_written_down(browser: Browser) -> None:
    browser.get(SETUP)
    browser.get(SETUP)

    assert trail() == []
