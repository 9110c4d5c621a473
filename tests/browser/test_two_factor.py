"""Two-factor login, in a browser: set up with an app, asked for at the next login, and done without the app."""

import time
from base64 import b32decode

from django_otp.oath import TOTP

from tests.browser.admin_pages import serious
from tests.browser.chromium import Page, expect
from tests.conftest import PASSWORD

LATER = 30  # seconds: the app shows another code then, which is taken a little early


def log_in(page: Page, code: str = "") -> None:
    """As the administrator."""
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Code from your app").fill(code)
    page.get_by_role("button", name="Log in").click()


def code_of(secret: str, *, after: int = 0) -> str:
    """What the app shows now, or some seconds later."""
    totp = TOTP(b32decode(secret.replace(" ", "")))
    totp.time = time.time() + after
    return f"{totp.token():06}"


def set_up(page: Page) -> str:
    """Turn it on. Gives the app's secret."""
    page.get_by_role("link", name="Two-factor login").click()
    expect(page.locator("svg.segno")).to_be_visible()
    secret = page.locator("#content-main code").inner_text()
    page.get_by_label("Code from your app").fill(code_of(secret))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_text("Two-factor login is on.")).to_be_visible()
    return secret


def shown_codes(page: Page) -> list[str]:
    """The recovery codes on the page."""
    expect(page.get_by_text("They cannot be shown again.")).to_be_visible()
    return page.locator(".recovery-codes code").all_inner_texts()


def sign_in_anew(page: Page, code: str) -> None:
    """Leave, and come again with a code."""
    page.get_by_role("button", name="Log out").click()
    log_in(page, code)


def turn_off(page: Page, code: str) -> None:
    """So that the next test finds no two-factor login."""
    page.get_by_role("link", name="Two-factor login").click()
    page.get_by_label("Code from your app").fill(code)
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("Two-factor login is off.")).to_be_visible()


def test_an_administrator_sets_it_up_and_signs_in_with_a_code(page: Page) -> None:
    log_in(page)
    secret = set_up(page)
    codes = shown_codes(page)
    page.get_by_role("button", name="Log out").click()

    log_in(page)
    expect(page.get_by_text("This user signs in with a code, too.")).to_be_visible()
    log_in(page, code_of(secret, after=LATER))

    expect(page.get_by_role("heading", name="Back office")).to_be_visible()
    turn_off(page, codes[0])


def test_who_has_lost_the_app_signs_in_with_recovery_codes_and_makes_new_ones(page: Page) -> None:
    log_in(page)
    set_up(page)
    first = shown_codes(page)
    assert len(set(first)) == 10
    assert serious(page) == []
    page.get_by_role("link", name="I have kept them").click()

    sign_in_anew(page, first[0])
    page.get_by_role("link", name="Two-factor login").click()
    expect(page.get_by_text("9 recovery codes left.")).to_be_visible()
    page.get_by_label("Code from your app").fill(first[1])
    page.get_by_role("button", name="Make new recovery codes").click()
    second = shown_codes(page)

    assert not set(first) & set(second)

    sign_in_anew(page, second[0])
    expect(page.get_by_role("heading", name="Back office")).to_be_visible()
    turn_off(page, second[1])
