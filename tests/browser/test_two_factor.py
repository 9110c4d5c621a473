"""Two-factor login, in a browser: set up with an app, and asked for at the next login."""

import time
from base64 import b32decode

from django_otp.oath import TOTP

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


def test_an_administrator_sets_it_up_and_signs_in_with_a_code(page: Page) -> None:
    log_in(page)
    page.get_by_role("link", name="Two-factor login").click()
    expect(page.locator("svg.segno")).to_be_visible()
    secret = page.locator("#content-main code").inner_text()
    page.get_by_label("Code from your app").fill(code_of(secret))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_text("Two-factor login is on.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()

    log_in(page)
    expect(page.get_by_text("This user signs in with a code, too.")).to_be_visible()
    log_in(page, code_of(secret, after=LATER))

    expect(page.get_by_role("heading", name="Back office")).to_be_visible()
