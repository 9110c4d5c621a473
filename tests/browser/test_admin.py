"""The back office, and that the API knows who is signed in there."""

from typing import Any

from tests.browser.chromium import Page, expect
from tests.browser.page_errors import PageErrors
from tests.processes import Server


def test_the_login_page_is_styled(page: Page) -> None:
    page.goto("/admin/")

    expect(page).to_have_url("/admin/login/?next=/admin/")
    expect(page.locator("#header")).to_have_css("background-color", "rgb(65, 118, 144)")
    expect(page.locator("#header")).to_have_css("display", "flex")


def test_a_wrong_password_does_not_sign_in(page: Page) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")

    page.get_by_role("button", name="Log in").click()

    expect(page.locator(".errornote")).to_be_visible()
    assert [cookie for cookie in page.context.cookies() if cookie.get("name") == "sessionid"] == []


def test_logging_in_shows_the_dashboard(signed_in: Page) -> None:
    expect(signed_in.get_by_role("heading", name="Back office")).to_be_visible()
    expect(signed_in.get_by_role("link", name="Mailbox messages", exact=True)).to_be_visible()


def test_the_api_knows_who_is_signed_in_at_the_admin(signed_in: Page) -> None:
    status, body = fetch_me(signed_in)

    assert status == 200
    assert (body["kind"], body["name"]) == ("session", "admin")


def test_the_api_forgets_who_logged_out(signed_in: Page, watch: PageErrors) -> None:
    watch.expect(401, "/api/me")

    signed_in.get_by_role("button", name="Log out").click()

    expect(signed_in.get_by_role("heading", name="Logged out")).to_be_visible()
    status, body = fetch_me(signed_in)
    assert (status, body["code"]) == (401, "not_authenticated")


def test_a_mail_sent_with_the_api_can_be_read_in_the_mailbox(signed_in: Page, server: Server) -> None:
    answer = server.post(
        "/api/send-email/", params={"email": "ada@example.com", "message": "Parcel 4711\nIt left our house today."}
    )
    server.wait_for_log("Email sent successfully")

    signed_in.goto("/admin/transports/mailboxmessage/")
    signed_in.get_by_role("link", name="Parcel 4711").click()

    assert answer.json() == {"message": "Email will be sent in the background"}
    expect(signed_in.get_by_text("It left our house today.")).to_be_visible()
    expect(signed_in.get_by_role("definition").get_by_text("ada@example.com")).to_be_visible()


def fetch_me(page: Page) -> tuple[int, dict[str, Any]]:
    """What a script of that page gets from GET /api/me."""
    status, body = page.evaluate("fetch('/api/me').then(async (answer) => [answer.status, await answer.json()])")
    return status, body
