"""The playground: sends an email and shows its events."""

import re
from typing import Literal

import pytest

from tests.browser.admin_pages import accessibility_violations, log_in
from tests.browser.chromium import Page, Route, expect
from tests.browser.page_errors import PageErrors
from tests.conftest import PASSWORD


@pytest.fixture
def playground(page: Page) -> Page:
    """Log in, and open the playground. Return the page."""
    log_in(page, PASSWORD, "/play")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    return page


def press_send(page: Page) -> None:
    """Send the email in the form."""
    page.get_by_role("button", name="Send", exact=True).click()


def test_send_is_disabled_until_the_script_has_loaded(playground: Page) -> None:
    routes: list[Route] = []

    def delay(route: Route) -> None:  # a function instead of `routes.append`, because Playwright sets an attribute on the handler
        routes.append(route)

    playground.route("**/playground.js", delay)
    playground.reload(wait_until="commit")
    send = playground.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_disabled()

    routes[0].continue_()

    expect(send).to_be_enabled()


def test_shows_an_email_from_queued_to_sent(playground: Page) -> None:
    press_send(playground)

    expect(playground.locator(".event-log b")).to_have_text(["queued", "sending", "sent"])
    expect(playground.locator(".event-log time").last).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3} UTC, \+\d+ ms$"))
    expect(playground.locator("[data-step=sent]")).to_have_attribute("data-state", "sent")
    expect(playground.locator("#live")).to_have_text("Live")


def test_each_email_starts_a_new_event_log(playground: Page) -> None:
    for _ in range(2):
        press_send(playground)
        expect(playground.locator(".event-log b")).to_have_text(["queued", "sending", "sent"])


def test_shows_the_reply_to_a_bounced_email(playground: Page) -> None:
    playground.get_by_role("button", name="bounced").click()

    press_send(playground)

    expect(playground.locator(".event-log")).to_contain_text("550 5.1.1 No such mailbox")
    expect(playground.locator("[data-step=sent]")).to_have_text(re.compile("^bounced"))


def test_shows_the_reason_for_a_rejected_email(playground: Page, page_errors: PageErrors) -> None:
    page_errors.expect(422, "/api/emails")
    playground.get_by_label("To").fill("not-an-address")

    press_send(playground)

    expect(playground.get_by_role("alert")).to_have_text("to: An email address must have an @-sign.")
    expect(playground.locator(".event-log li")).to_have_count(0)


def test_links_to_the_email_in_the_admin(playground: Page) -> None:
    playground.get_by_label("Subject").fill("From the playground")
    press_send(playground)
    expect(playground.get_by_role("listitem").filter(has_text="sent")).to_be_visible()  # then the log above the link is complete

    playground.get_by_role("link", name="View in the admin").click()

    expect(playground.get_by_role("heading", name="From the playground")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_the_playground_is_accessible(playground: Page, width: int, scheme: Literal["light", "dark"]) -> None:
    playground.set_viewport_size({"width": width, "height": 844})
    playground.emulate_media(color_scheme=scheme)
    press_send(playground)
    expect(playground.locator(".event-log b").last).to_have_text("sent")

    assert accessibility_violations(playground) == []
    assert playground.evaluate("document.documentElement.scrollWidth") == width
