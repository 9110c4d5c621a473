"""The list of sessions and the page that asks for the password again, in a browser."""

import pytest

from tests.browser.admin_pages import accessibility_violations, log_in
from tests.browser.chromium import Browser, Page, expect
from tests.conftest import PASSWORD
from tests.processes import Server


def test_logs_another_browser_out(logged_in: Page, browser: Browser, server: Server) -> None:
    with browser.new_context(base_url=server.url) as elsewhere:
        other = elsewhere.new_page()
        log_in(other, PASSWORD)
        logged_in.goto("/admin/sessions/")

        logged_in.get_by_role("button", name="Log out Chrome").first.click()
        expect(logged_in.get_by_text("The session was logged out")).to_be_visible()
        logged_in.get_by_role("button", name="Log out everywhere else").click()

        expect(logged_in.get_by_text("You were logged out everywhere else")).to_be_visible()
        other.goto("/admin/")
        expect(other.get_by_label("Username")).to_be_visible()
        logged_in.goto("/admin/sessions/")
        expect(logged_in.get_by_text("This browser")).to_be_visible()


@pytest.mark.parametrize("path", ["/admin/sessions/", "/admin/reauthenticate/"])
@pytest.mark.parametrize("width", [375, 1200])
def test_a_page_fits_the_screen_and_is_accessible(logged_in: Page, path: str, width: int) -> None:
    logged_in.set_viewport_size({"width": width, "height": 800})

    logged_in.goto(path)

    assert accessibility_violations(logged_in) == []
    assert logged_in.evaluate("document.documentElement.scrollWidth") <= width


def test_confirms_the_password(logged_in: Page) -> None:
    logged_in.goto("/admin/reauthenticate/?next=/admin/two-factor/")
    logged_in.get_by_label("Password").fill("wrong")
    logged_in.get_by_role("button", name="Continue").click()
    expect(logged_in.get_by_text("The password is incorrect.")).to_be_visible()

    logged_in.get_by_label("Password").fill(PASSWORD)
    logged_in.get_by_role("button", name="Continue").click()

    expect(logged_in.get_by_text("Scan this QR code")).to_be_visible()
