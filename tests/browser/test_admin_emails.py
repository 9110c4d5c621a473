"""An email's page in the admin: it shows the HTML, and the HTML cannot run scripts or load anything from other hosts."""

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.browser import admin_pages
from tests.browser.chromium import Page, expect
from tests.browser.page_errors import PageErrors
from tests.processes import Server, wait_for

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HTML = """<style>h1 { color: rgb(0, 128, 128) }</style><h1>Parcel 4711</h1><img id="logo" src="cid:logo" alt="our logo">
<a href="https://shop.example/track">Track it</a>"""
TEXT = "It left our house today."


def send(page: Page, server: Server, **fields: Any) -> str:
    """Send an email with an inline image. Return the email's id."""
    logo = {"filename": "logo.png", "content": PIXEL, "content_type": "image/png", "content_id": "logo"}
    return admin_pages.send(page, server.url, **{"text": TEXT, "html": HTML, "attachments": [logo]} | fields)


def test_shows_the_html_with_inline_images(logged_in: Page, server: Server) -> None:
    send(logged_in, server)

    logged_in.goto("/admin/emails/email/")
    logged_in.get_by_role("link", name="Parcel").first.click()

    frame = logged_in.frame_locator(".message-html")
    expect(frame.get_by_role("heading", name="Parcel 4711")).to_have_css("color", "rgb(0, 128, 128)")
    expect(frame.locator("#logo")).to_have_js_property("naturalWidth", 1)
    expect(logged_in.locator(".message-text")).to_contain_text(TEXT)


def test_a_script_in_an_email_does_not_run(logged_in: Page, server: Server, page_errors: PageErrors) -> None:
    email_id = send(logged_in, server, html="<h1>before</h1><script>document.querySelector('h1').textContent = 'after'</script>")
    page_errors.expect(200, f"/admin/emails/email/{email_id}/html/")  # the console logs an error about the blocked script

    logged_in.goto(f"/admin/emails/email/{email_id}/change/")

    expect(logged_in.frame_locator(".message-html").get_by_role("heading")).to_have_text("before")


def test_opening_an_email_connects_to_no_other_host(logged_in: Page, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)  # a browser connects to a frame's host within a fraction of this time
        page = f"https://reader-4711.localhost:{listener.getsockname()[1]}/"
        frames = f'<iframe src="{page}"></iframe><iframe srcdoc="<iframe src={page}>"></iframe><embed src="{page}">'
        email_id = send(logged_in, server, html=f'{HTML}<svg><foreignObject>{frames}</foreignObject></svg><object data="{page}">')

        logged_in.goto(f"/admin/emails/email/{email_id}/change/")
        expect(logged_in.frame_locator(".message-html").get_by_role("heading", name="Parcel 4711")).to_be_visible()

        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_link_in_an_email_opens_no_foreign_page_in_the_frame(logged_in: Page, server: Server, page_errors: PageErrors) -> None:
    email_id = send(logged_in, server)
    page_errors.expect(200, f"/admin/emails/email/{email_id}/html/")
    logged_in.goto(f"/admin/emails/email/{email_id}/change/")

    with logged_in.expect_console_message(lambda message: "frame-src" in message.text):
        logged_in.frame_locator(".message-html").get_by_role("link", name="Track it").click()

    assert page_errors.foreign_urls == []


def test_cancels_a_scheduled_email(logged_in: Page, server: Server) -> None:
    send(logged_in, server, subject="Much later", scheduled_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())

    logged_in.goto("/admin/emails/email/?status=scheduled")
    logged_in.get_by_role("link", name="Much later").click()
    logged_in.get_by_role("button", name="Cancel").click()

    expect(logged_in.locator(".messagelist")).to_have_text("“Much later”: Canceled.")
    expect(logged_in.locator(".message-status .status")).to_have_text("canceled")
    expect(logged_in.get_by_role("button", name="Cancel")).to_have_count(0)


def test_shows_emails_that_are_delayed_again_after_a_retry(logged_in: Page, server: Server) -> None:
    for _ in range(2):
        send(logged_in, server, to="defer@simulator.test", tags={"again": "yes"})

    def both_are_delayed() -> bool:
        logged_in.goto("/admin/emails/email/?tag=again:yes&status=delayed")
        return logged_in.locator("input.action-select").count() == 2

    wait_for(both_are_delayed, "both emails are delayed")
    logged_in.get_by_label("Select all objects on this page").check()
    logged_in.get_by_label("Action:").select_option(label="Retry now")
    logged_in.get_by_title("Run the selected action").click()

    expect(logged_in.locator(".summary")).to_have_text("0 of 2 done: 2 delayed.")


def test_cancels_the_emails_of_all_pages_in_the_background(logged_in: Page, server: Server) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    email = {"from": "shop@example.com", "to": "ada@example.com", "text": TEXT, "tags": {"all": "pages"}, "scheduled_at": later}
    admin_pages.post(logged_in, server.url, "/api/emails/batch", {"emails": [email] * 103})

    logged_in.goto("/admin/emails/email/?tag=all:pages")
    logged_in.get_by_label("Select all objects on this page").check()
    logged_in.get_by_role("button", name="Select all 103 emails that match").click()
    logged_in.get_by_label("Action:").select_option(label="Cancel")
    logged_in.get_by_title("Run the selected action").click()
    expect(logged_in.get_by_text("103 emails match the filters")).to_be_visible()
    logged_in.get_by_role("button", name="Cancel").click()

    expect(logged_in.locator(".summary")).to_have_text("103 of 103 done. 103: Canceled.")
    expect(logged_in.get_by_role("button", name="Stop")).to_have_count(0)


def test_the_list_shows_all_columns_beside_the_menu_and_the_filters(logged_in: Page, server: Server) -> None:
    logged_in.set_viewport_size({"width": 1200, "height": 800})
    tags = {"list": "columns"}
    send(logged_in, server, to="bounce@simulator.test", subject="Your order is on its way", priority="high", tags=tags)
    send(logged_in, server, to="margaret@example.com", subject="Your order is on its way", tags=tags)

    logged_in.goto("/admin/emails/email/?tag=list:columns")

    expect(logged_in.locator("#result_list tbody tr")).to_have_count(2)
    hidden = logged_in.locator(".results").evaluate("results => results.scrollWidth - results.clientWidth")
    assert hidden == 0
