"""Two-factor login: setup, login with a code from the app, and login with a recovery code."""

import time
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_otp.oath import TOTP

from tests.browser.admin_pages import accessibility_violations
from tests.browser.chromium import Page, expect
from tests.conftest import PASSWORD, run_server
from tests.processes import Server

TOTP_PERIOD_SECONDS = 30  # each code works only once; the next code is accepted one period early
CODE_LABEL = "Code from your authenticator app"


@pytest.fixture(scope="module")
def server(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run Mailrail for this module only, because the other tests log in without a code."""
    with run_server("serve", {}, installation, tmp_path_factory.mktemp("serve")) as server:
        yield server


def log_in(page: Page, code: str = "") -> None:
    """Log in as the administrator."""
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label(CODE_LABEL).fill(code)
    page.get_by_role("button", name="Log in").click()


def totp_code(secret: str, *, seconds_ahead: int = 0) -> str:
    """Return the code that the authenticator app shows now, or in `seconds_ahead` seconds."""
    totp = TOTP(b32decode(secret.replace(" ", "")))
    totp.time = time.time() + seconds_ahead
    return f"{totp.token():06}"


def turn_on(page: Page) -> str:
    """Turn on two-factor login. Return the secret."""
    page.get_by_role("link", name="Two-factor login").click()
    expect(page.locator("svg.segno")).to_be_visible()
    secret = page.locator("#content-main code").inner_text()
    page.get_by_label(CODE_LABEL).fill(totp_code(secret))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_text("Two-factor login is on.")).to_be_visible()
    return secret


def recovery_codes(page: Page) -> list[str]:
    """Return the recovery codes on the page."""
    expect(page.get_by_text("They cannot be shown again.")).to_be_visible()
    return page.locator(".recovery-codes code").all_inner_texts()


def log_in_again(page: Page, code: str) -> None:
    """Log out, and log in with a code."""
    page.get_by_role("button", name="Log out").click()
    log_in(page, code)


def turn_off(page: Page, code: str) -> None:
    """Turn off two-factor login, because the next test starts without it."""
    page.get_by_role("link", name="Two-factor login").click()
    page.get_by_label(CODE_LABEL).fill(code)
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("Two-factor login is off.")).to_be_visible()


def test_sets_up_two_factor_login_and_logs_in_with_a_code(page: Page) -> None:
    log_in(page)
    secret = turn_on(page)
    codes = recovery_codes(page)
    page.get_by_role("button", name="Log out").click()

    log_in(page)
    expect(page.get_by_text("A two-factor code is required.")).to_be_visible()
    log_in(page, totp_code(secret, seconds_ahead=TOTP_PERIOD_SECONDS))

    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    turn_off(page, codes[0])


def test_logs_in_with_a_recovery_code_and_renews_the_codes(page: Page) -> None:
    log_in(page)
    turn_on(page)
    first = recovery_codes(page)
    assert len(set(first)) == 10
    assert accessibility_violations(page) == []
    page.get_by_role("link", name="I have saved my recovery codes").click()

    log_in_again(page, first[0])
    page.get_by_role("link", name="Two-factor login").click()
    expect(page.get_by_text("9 recovery codes left.")).to_be_visible()
    page.get_by_label(CODE_LABEL).fill(first[1])
    page.get_by_role("button", name="Generate new recovery codes").click()
    second = recovery_codes(page)

    assert not set(first) & set(second)

    log_in_again(page, second[0])
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    turn_off(page, second[1])
