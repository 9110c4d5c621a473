"""The playground, in a browser: a mail is written, and seen to go."""

import re
from typing import Literal

import pytest

from tests.browser.admin_pages import serious, sign_in
from tests.browser.chromium import Page, Route, expect
from tests.browser.page_errors import PageErrors
from tests.conftest import PASSWORD


@pytest.fixture
def playground(page: Page) -> Page:
    """Open, for the administrator, who was asked to log in."""
    sign_in(page, PASSWORD, "/play")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    return page


def press_send(page: Page) -> None:
    """Send the mail as it is written there."""
    page.get_by_role("button", name="Send", exact=True).click()


def test_nothing_is_sent_before_the_script_is_there(playground: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:  # Playwright notes something on it, which it cannot on a list's own method
        held.append(route)

    playground.route("**/play.js", hold)
    playground.reload(wait_until="commit")
    send = playground.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_disabled()

    held[0].continue_()

    expect(send).to_be_enabled()


def test_a_mail_is_seen_to_go_from_queued_to_sent(playground: Page) -> None:
    press_send(playground)

    expect(playground.locator(".story b")).to_have_text(["queued", "sending", "sent"])
    expect(playground.locator(".story time").last).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3} UTC, \+\d+ ms$"))
    expect(playground.locator("[data-station=sent]")).to_have_attribute("data-state", "sent")
    expect(playground.locator("#live")).to_have_text("Live")


def test_each_mail_has_its_own_way(playground: Page) -> None:
    for _ in range(2):
        press_send(playground)
        expect(playground.locator(".story b")).to_have_text(["queued", "sending", "sent"])


def test_a_mail_that_bounces_says_what_the_relay_said(playground: Page) -> None:
    playground.get_by_role("button", name="bounces").click()

    press_send(playground)

    expect(playground.locator(".story")).to_contain_text("550 5.1.1 No such mailbox")
    expect(playground.locator("[data-station=sent]")).to_have_text(re.compile("^bounced"))


def test_a_mail_that_is_refused_says_why(playground: Page, watch: PageErrors) -> None:
    watch.expect(422, "/api/emails")
    playground.get_by_label("To").fill("nobody")

    press_send(playground)

    expect(playground.get_by_role("alert")).to_have_text("to: An email address must have an @-sign.")
    expect(playground.locator(".story li")).to_have_count(0)


def test_the_mail_has_a_page_in_the_back_office(playground: Page) -> None:
    playground.get_by_label("Subject").fill("Played with")
    press_send(playground)
    expect(playground.get_by_role("listitem").filter(has_text="sent")).to_be_visible()  # its timeline grows above the link

    playground.get_by_role("link", name="Its page in the back office").click()

    expect(playground.get_by_role("heading", name="Played with")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_the_playground_is_accessible(playground: Page, width: int, scheme: Literal["light", "dark"]) -> None:
    playground.set_viewport_size({"width": width, "height": 844})
    playground.emulate_media(color_scheme=scheme)
    press_send(playground)
    expect(playground.locator(".story b").last).to_have_text("sent")

    assert serious(playground) == []
    assert playground.evaluate("document.documentElement.scrollWidth") == width
