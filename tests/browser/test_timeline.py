"""One mail's page, in a browser: its timeline grows while somebody looks."""

from datetime import UTC, datetime, timedelta

from tests.browser.admin_pages import post, send, serious
from tests.browser.chromium import Page, expect
from tests.processes import Server


def look_at(page: Page, email_id: str) -> None:
    """Open the page of a mail, and wait until it is live."""
    page.goto(f"/admin/emails/email/{email_id}/change/")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.notReloaded = true")


def test_the_timeline_grows_while_somebody_looks(signed_in: Page, server: Server) -> None:
    email_id = send(signed_in, server.url, to="slow+10@simulator.test")  # long enough for a busy machine to see it sending
    look_at(signed_in, email_id)
    expect(signed_in.locator(".letter-state .status")).to_have_text("sending")

    told = signed_in.locator("#timeline .status")

    expect(told).to_have_text(["email.queued", "email.sending", "email.sent"])
    expect(signed_in.locator(".letter-state .status")).to_have_text("sent")
    expect(signed_in.get_by_text("Sent", exact=True)).to_be_visible()
    assert signed_in.evaluate("window.notReloaded")


def test_a_mail_that_is_put_off_says_what_the_relay_said(signed_in: Page, server: Server) -> None:
    email_id = send(signed_in, server.url, to=["slow+2@simulator.test", "defer@simulator.test"])
    look_at(signed_in, email_id)

    expect(signed_in.locator("#timeline .status").last).to_have_text("email.delayed")
    expect(signed_in.locator("#timeline li").last).to_contain_text("451")
    expect(signed_in.get_by_role("heading", name="Recipients")).to_be_visible()
    expect(signed_in.get_by_text("Next attempt")).to_be_visible()


def test_a_button_goes_when_it_can_no_longer_be_pressed(signed_in: Page, server: Server) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    email_id = send(signed_in, server.url, scheduled_at=tomorrow)
    look_at(signed_in, email_id)
    expect(signed_in.get_by_role("button", name="Cancel")).to_be_visible()

    post(signed_in, server.url, f"/api/emails/{email_id}/cancel", None)

    expect(signed_in.locator(".letter-state .status")).to_have_text("canceled")
    expect(signed_in.get_by_role("button", name="Cancel")).to_have_count(0)


def test_the_page_of_a_mail_is_accessible(signed_in: Page, server: Server) -> None:
    look_at(signed_in, send(signed_in, server.url, to="bounce@simulator.test", html="<h1>Hello</h1>"))
    expect(signed_in.locator("#timeline .status").last).to_have_text("email.bounced")

    assert serious(signed_in) == []
