"""Login to the admin, and the API with the admin's session."""

from typing import Any

from tests.browser.chromium import Page, expect
from tests.browser.page_errors import PageErrors
from tests.processes import Server, wait_for


def test_the_login_page_is_styled(page: Page) -> None:
    page.goto("/admin/")

    expect(page).to_have_url("/admin/login/?next=/admin/")
    expect(page.locator("#header")).to_have_css("background-color", "rgb(65, 118, 144)")
    expect(page.locator("#header")).to_have_css("display", "flex")


def test_rejects_a_wrong_password(page: Page) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")

    page.get_by_role("button", name="Log in").click()

    expect(page.locator(".errornote")).to_be_visible()
    assert [cookie for cookie in page.context.cookies() if cookie.get("name") == "sessionid"] == []


def test_login_opens_the_dashboard(logged_in: Page) -> None:
    expect(logged_in.get_by_role("heading", name="Dashboard")).to_be_visible()
    expect(logged_in.get_by_role("rowheader", name="Mailbox")).to_be_visible()


def test_the_api_accepts_the_session_of_the_admin(logged_in: Page) -> None:
    status, body = fetch_me(logged_in)

    assert status == 200
    assert (body["kind"], body["name"]) == ("session", "admin")


def test_the_api_rejects_the_session_after_logout(logged_in: Page, page_errors: PageErrors) -> None:
    page_errors.expect(401, "/api/me")

    logged_in.get_by_role("button", name="Log out").click()

    expect(logged_in.get_by_role("heading", name="Logged out")).to_be_visible()
    status, body = fetch_me(logged_in)
    assert (status, body["code"]) == (401, "not_authenticated")


def test_an_email_sent_through_the_api_is_in_the_mailbox(logged_in: Page, server: Server) -> None:
    response = server.post(
        "/api/send-email/", params={"email": "ada@example.com", "message": "Parcel 4711\nIt left our house today."}
    )

    def has_arrived() -> bool:
        logged_in.goto("/admin/transports/mailboxmessage/")
        return logged_in.get_by_role("link", name="Parcel 4711").is_visible()

    wait_for(has_arrived, "the email is in the mailbox")
    logged_in.get_by_role("link", name="Parcel 4711").click()

    assert response.json() == {"message": "Email will be sent in the background"}
    expect(logged_in.get_by_text("It left our house today.")).to_be_visible()
    expect(logged_in.get_by_role("definition").get_by_text("ada@example.com")).to_be_visible()


def fetch_me(page: Page) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of GET /api/me, fetched by a script on the page."""
    status, body = page.evaluate("fetch('/api/me').then(async (response) => [response.status, await response.json()])")
    return status, body
