"""The notes' OpenAPI section in a browser: Swagger UI and ReDoc, with no request to another host (`page` sees to that)."""

import re

import pytest

from tests.browser.admin_pages import sign_in
from tests.browser.chromium import Locator, Page, expect
from tests.conftest import PASSWORD


def test_swagger_ui_lists_the_calls_and_the_server(page: Page) -> None:
    page.goto("/api/docs")

    expect(page).to_have_title("Mailrail: Swagger UI")
    expect(page.locator("#servers")).to_have_value("/api")
    for path in ("/add", "/send-email/", "/token", "/health/ready"):
        expect(page.locator(".opblock-summary-path").get_by_text(path, exact=True)).to_be_visible()


def test_try_it_out_adds_two_numbers(page: Page) -> None:
    page.goto("/api/docs")
    call = try_it_out(page, "add")
    call.get_by_placeholder("x").fill("3")
    call.get_by_placeholder("y").fill("5")

    call.get_by_role("button", name="Execute").click()

    answer = call.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer.locator(".response-col_description")).to_contain_text('"result": 8')


def test_authorize_signs_in_with_the_password_flow(page: Page) -> None:
    page.goto("/api/docs")
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".auth-container", has_text="OAuth2, password")
    dialog.get_by_label("username:").fill("admin")
    dialog.get_by_label("password:").fill(PASSWORD)

    dialog.get_by_role("button", name="Apply given OAuth2 credentials").click()

    expect(dialog.get_by_role("button", name="Remove authorization")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    call = try_it_out(page, "get_me")
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table")).to_contain_text('"kind": "token"')
    expect(call.locator(".live-responses-table")).to_contain_text('"name": "admin"')


def test_authorize_asks_for_no_cookie(page: Page) -> None:
    page.goto("/api/docs")

    page.get_by_role("button", name="Authorize", exact=True).click()

    expect(page.locator(".auth-container h4")).to_contain_text(["token (OAuth2, password)", "metrics"])


def test_try_it_out_sends_a_mail_for_nobody_and_for_who_is_signed_in_at_the_admin(page: Page) -> None:
    for signed_in in (False, True):
        if signed_in:
            sign_in(page, PASSWORD)
        page.goto("/api/docs")
        call = try_it_out(page, "send_email_in_background")
        call.get_by_placeholder("email").fill("ada@example.com")
        call.get_by_placeholder("message").fill("Hi")

        call.get_by_role("button", name="Execute").click()

        expect(call.locator(".live-responses-table")).to_contain_text("Email will be sent in the background")


def test_redoc_shows_the_title_and_the_calls(page: Page) -> None:
    page.goto("/api/redoc")

    expect(page).to_have_title("Mailrail: ReDoc")
    expect(page.get_by_role("heading", name="Mailrail")).to_be_visible()
    expect(page.get_by_role("heading", name="Types")).to_be_visible()


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_icon_of_the_docs_is_ours(page: Page, path: str) -> None:
    page.goto(path)

    # The browser asks for it behind the back of Playwright, and so of `page`.
    expect(page.locator("link[rel*='icon']")).to_have_attribute("href", re.compile("^/api/docs/files/"))


def try_it_out(page: Page, operation_id: str) -> Locator:
    """Open a call of Swagger UI, and make its fields writable."""
    call = page.locator(f".opblock[id$='-{operation_id}']")
    call.locator(".opblock-summary").click()
    call.get_by_role("button", name="Try it out").click()
    return call
