"""An email's page in the admin. Its timeline updates while the page is open."""

from datetime import UTC, datetime, timedelta

from tests.browser.admin_pages import accessibility_violations, call_api, post, send
from tests.browser.chromium import Page, expect
from tests.processes import Server


def open_email(page: Page, email_id: str) -> None:
    """Open an email's page and wait until it is connected."""
    page.goto(f"/admin/emails/email/{email_id}/change/")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.notReloaded = true")


def test_the_timeline_updates_without_a_reload(logged_in: Page, server: Server) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    email_id = send(logged_in, server.url, to="slow+4@simulator.test", scheduled_at=tomorrow)
    open_email(logged_in, email_id)

    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    call_api(logged_in, server.url, "PATCH", f"/api/emails/{email_id}", {"scheduled_at": soon})
    expect(logged_in.locator(".message-status .status")).to_have_text("sending")

    events = logged_in.locator("#timeline .status")
    expect(events).to_have_text(["email.scheduled", "email.sending", "email.sent"])
    expect(logged_in.locator(".message-status .status")).to_have_text("sent")
    expect(logged_in.get_by_text("Sent", exact=True)).to_be_visible()
    assert logged_in.evaluate("window.notReloaded")


def test_shows_the_reply_to_a_delayed_email(logged_in: Page, server: Server) -> None:
    email_id = send(logged_in, server.url, to=["slow+2@simulator.test", "defer@simulator.test"])
    open_email(logged_in, email_id)

    expect(logged_in.locator("#timeline .status").last).to_have_text("email.delayed")
    expect(logged_in.locator("#timeline li").last).to_contain_text("451")
    expect(logged_in.get_by_role("heading", name="Recipients")).to_be_visible()
    expect(logged_in.get_by_text("Next attempt")).to_be_visible()


def test_removes_the_cancel_button_of_a_canceled_email(logged_in: Page, server: Server) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    email_id = send(logged_in, server.url, scheduled_at=tomorrow)
    open_email(logged_in, email_id)
    expect(logged_in.get_by_role("button", name="Cancel")).to_be_visible()

    post(logged_in, server.url, f"/api/emails/{email_id}/cancel", None)

    expect(logged_in.locator(".message-status .status")).to_have_text("canceled")
    expect(logged_in.get_by_role("button", name="Cancel")).to_have_count(0)


def test_the_page_of_an_email_is_accessible(logged_in: Page, server: Server) -> None:
    open_email(logged_in, send(logged_in, server.url, to="bounce@simulator.test", html="<h1>Hello</h1>"))
    expect(logged_in.locator("#timeline .status").last).to_have_text("email.bounced")

    assert accessibility_violations(logged_in) == []
