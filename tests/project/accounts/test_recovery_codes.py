"""Recovery codes: shown once, each good once in place of the app's, and renewed."""

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
from tests.project.accounts.test_two_factor import ADDRESS, SETUP, ask_for_token, code_of, log_in, trail, wrong_code_of

CODE = re.compile(r"<code>(\d{4} \d{4} \d{4})</code>")


@pytest.fixture
def device(owner: User) -> TOTPDevice:
    """The owner's app, which was set up."""
    device: TOTPDevice = TOTPDevice.objects.create(user=owner, name="app", confirmed=True)
    return device


@pytest.fixture
def codes(owner: User, device: TOTPDevice) -> list[str]:
    """The owner's."""
    return create_recovery_codes(owner)


@pytest.fixture
def browser(owner: User, codes: list[str]) -> Browser:
    """Where the owner is signed in, and has an app."""
    browser = Browser()
    browser.force_login(owner)
    return browser


def signs_in(**form: str) -> bool:
    """Whether the owner gets into the admin with this."""
    return bool(log_in(Browser(), **form).status_code == 302)


def wait_a_moment() -> None:
    """As one has to after a wrong code."""
    StaticDevice.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(seconds=10))


def not_one_of(codes: list[str]) -> str:
    """A recovery code that is none."""
    taken = {code.replace(" ", "") for code in codes}
    return next(code for code in (f"{number:012}" for number in range(20)) if code not in taken)


# Shown


def test_ten_are_shown_when_it_is_set_up(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP)

    page = browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    codes = CODE.findall(page.content.decode())
    assert len(set(codes)) == 10
    assert "no-store" in page.headers["Cache-Control"]
    assert signs_in(otp=codes[0])


def test_they_are_shown_once(browser: Browser, codes: list[str]) -> None:
    page = browser.get(SETUP).content.decode()

    assert CODE.findall(page) == []
    assert "10 recovery codes left" in page


def test_a_wrong_code_shows_none(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP)

    page = browser.post(SETUP, {"otp": wrong_code_of(TOTPDevice.objects.get())})

    assert CODE.findall(page.content.decode()) == []
    assert not StaticToken.objects.exists()


def test_what_is_kept_is_not_the_code(codes: list[str]) -> None:
    kept = set(StaticToken.objects.values_list("token", flat=True))

    assert len(kept) == 10
    assert not kept & {code.replace(" ", "") for code in codes}


def test_the_admin_shows_nothing_of_them(browser: Browser) -> None:
    page = browser.get(f"/admin/otp_static/staticdevice/{StaticDevice.objects.get().pk}/change/").content.decode()

    assert [token for token in StaticToken.objects.values_list("token", flat=True) if token in page] == []


# Used


@pytest.mark.parametrize("written", ["{}", " {} "])
def test_one_takes_the_place_of_the_apps_code(codes: list[str], written: str) -> None:
    assert signs_in(otp=written.format(codes[3]))


@pytest.mark.parametrize("between", ["", "-"])
def test_how_it_is_grouped_makes_no_difference(codes: list[str], between: str) -> None:
    assert signs_in(otp=codes[3].replace(" ", between))


def test_one_is_good_once(codes: list[str]) -> None:
    signs_in(otp=codes[0])

    assert not signs_in(otp=codes[0])
    wait_a_moment()
    assert signs_in(otp=codes[1])


def test_a_wrong_one_does_not_do(codes: list[str]) -> None:
    assert not signs_in(otp=not_one_of(codes))


def test_after_a_wrong_one_no_other_is_tried_for_a_moment(codes: list[str]) -> None:
    signs_in(otp=not_one_of(codes))

    assert not signs_in(otp=codes[0])
    wait_a_moment()
    assert signs_in(otp=codes[0])


def test_a_wrong_one_keeps_nobody_from_the_app(codes: list[str], device: TOTPDevice) -> None:
    signs_in(otp=not_one_of(codes))

    assert signs_in(otp=code_of(device))


def test_one_needs_the_password(codes: list[str]) -> None:
    assert not signs_in(password="wrong", otp=codes[0])
    assert StaticToken.objects.count() == 10


def test_anothers_do_not_do(codes: list[str], teammate: User) -> None:
    assert not signs_in(otp=create_recovery_codes(teammate)[0])


def test_a_token_is_given_for_one(codes: list[str], client: TestClient) -> None:
    assert ask_for_token(client, otp=codes[0]) == (200, None)
    assert ask_for_token(client, otp=codes[0]) == (403, "two_factor_required")


# Renewed


@pytest.mark.parametrize("required", [False, True])
def test_new_ones_take_the_place_of_the_old(browser: Browser, codes: list[str], required: bool, settings: Settings) -> None:
    settings.REQUIRE_2FA = required

    page = browser.post(SETUP, {"otp": codes[0], "renew": "yes"})

    new = CODE.findall(page.content.decode())
    assert len(set(new) - set(codes)) == 10
    assert not signs_in(otp=codes[1])
    wait_a_moment()
    assert signs_in(otp=new[0])
    assert browser.get("/admin/").status_code == 200


def test_the_app_renews_them_too(browser: Browser, device: TOTPDevice) -> None:
    page = browser.post(SETUP, {"otp": code_of(device), "renew": "yes"})

    assert len(CODE.findall(page.content.decode())) == 10


def test_a_wrong_code_renews_nothing(browser: Browser, codes: list[str]) -> None:
    page = browser.post(SETUP, {"otp": not_one_of(codes), "renew": "yes"})

    assert "The code is wrong" in page.content.decode()
    wait_a_moment()
    assert signs_in(otp=codes[0])


def test_who_was_signed_in_before_there_were_any_can_make_them(browser: Browser, device: TOTPDevice) -> None:
    StaticDevice.objects.all().delete()

    assert "0 recovery codes left" in browser.get(SETUP).content.decode()
    assert len(CODE.findall(browser.post(SETUP, {"otp": code_of(device), "renew": "yes"}).content.decode())) == 10


# Turned off


def test_one_turns_two_factor_login_off(browser: Browser, codes: list[str], owner: User) -> None:
    browser.post(SETUP, {"otp": codes[0]})

    assert owner.device is None


def test_they_end_with_two_factor_login(browser: Browser, codes: list[str]) -> None:
    browser.post(SETUP, {"otp": codes[0]})

    assert not StaticToken.objects.exists()


def test_they_sign_nobody_in_who_has_no_app(owner: User, client: TestClient, settings: Any) -> None:
    settings.REQUIRE_2FA = True

    assert ask_for_token(client, otp=create_recovery_codes(owner)[0]) == (403, "two_factor_required")


# Written down


@pytest.fixture
def _blank(codes: list[str]) -> None:
    """The trail, after the owner has got codes."""
    AuditEvent.objects.all().delete()


def test_codes_that_come_with_an_app_are_written_down(owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    browser.get(SETUP)

    browser.post(SETUP, {"otp": code_of(TOTPDevice.objects.get())})

    assert trail()[1:] == [(AuditAction.RECOVERY_CODES_CREATED, "", "owner", None)]


@pytest.mark.usefixtures("_blank")
def test_new_ones_are_written_down(browser: Browser, device: TOTPDevice) -> None:
    browser.post(SETUP, {"otp": code_of(device), "renew": "yes"})

    assert trail() == [(AuditAction.RECOVERY_CODES_CREATED, "", "owner", None)]


@pytest.mark.usefixtures("_blank")
def test_one_that_is_used_in_the_admin_is_written_down(codes: list[str]) -> None:
    log_in(Browser(REMOTE_ADDR=ADDRESS), otp=codes[0])

    assert trail() == [(AuditAction.RECOVERY_CODE_USED, "", "owner", ADDRESS)]


@pytest.mark.usefixtures("_blank")
def test_one_that_is_used_for_a_token_is_written_down(codes: list[str], client: TestClient) -> None:
    ask_for_token(TestClient(client.app, client=(ADDRESS, 1)), otp=codes[0])

    assert trail() == [(AuditAction.RECOVERY_CODE_USED, "", "owner", ADDRESS)]


@pytest.mark.usefixtures("_blank")
def test_one_that_is_used_to_make_new_ones_is_written_down(browser: Browser, codes: list[str]) -> None:
    browser.post(SETUP, {"otp": codes[0], "renew": "yes"})

    assert [fact for fact, *_ in trail()] == [AuditAction.RECOVERY_CODE_USED, AuditAction.RECOVERY_CODES_CREATED]


@pytest.mark.usefixtures("_blank")
def test_those_that_are_forgotten_were_not_used(device: TOTPDevice, browser: Browser) -> None:
    browser.post(SETUP, {"otp": code_of(device)})

    assert [fact for fact, *_ in trail()] == [AuditAction.TWO_FACTOR_DISABLED]


@pytest.mark.usefixtures("_blank")
def test_a_wrong_one_is_written_down(codes: list[str]) -> None:
    log_in(Browser(REMOTE_ADDR=ADDRESS), otp=not_one_of(codes))

    assert trail() == [(AuditAction.REJECTED, "wrong code", "owner", ADDRESS)]


@pytest.mark.usefixtures("_blank")
def test_none_of_them_is_in_the_trail(codes: list[str]) -> None:
    log_in(Browser(), otp=codes[0])
    log_in(Browser(), otp=not_one_of(codes))

    told = str(list(AuditEvent.objects.values_list("action", "reason", "actor")))
    kept = StaticToken.objects.values_list("token", flat=True)
    assert [text for text in (*codes, *(code.replace(" ", "") for code in codes), *kept) if text in told] == []
