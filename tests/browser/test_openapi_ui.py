"""Swagger UI and ReDoc, without requests to another host (checked by the `page` fixture)."""

import re

import pytest

from tests.browser.admin_pages import log_in
from tests.browser.chromium import Locator, Page, expect
from tests.conftest import PASSWORD

STORED = "JSON.stringify({...localStorage, ...sessionStorage})"  # everything that pages of this origin have stored


def test_swagger_ui_lists_operations_and_the_server(page: Page) -> None:
    page.goto("/api/docs")

    expect(page).to_have_title("Mailrail: Swagger UI")
    expect(page.locator("#servers")).to_have_value("/api")
    for path in ("/add", "/send-email/", "/token", "/health/ready"):
        expect(page.locator(".opblock-summary-path").get_by_text(path, exact=True)).to_be_visible()


def test_try_it_out_adds_two_numbers(page: Page) -> None:
    page.goto("/api/docs")
    operation = try_it_out(page, "add")
    operation.get_by_placeholder("x").fill("3")
    operation.get_by_placeholder("y").fill("5")

    operation.get_by_role("button", name="Execute").click()

    response = operation.locator(".live-responses-table .response")
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response.locator(".response-col_description")).to_contain_text('"result": 8')


def authorize_with_password(page: Page) -> Locator:
    """Log in as the administrator in Swagger UI's Authorize dialog. Return the dialog."""
    page.goto("/api/docs")
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".auth-container", has_text="OAuth2, password")
    dialog.get_by_label("username:").fill("admin")
    dialog.get_by_label("password:").fill(PASSWORD)
    dialog.get_by_role("button", name="Apply given OAuth2 credentials").click()
    expect(dialog.get_by_role("button", name="Remove authorization")).to_be_visible()
    return dialog


def test_authorize_logs_in_with_the_password_flow(page: Page) -> None:
    dialog = authorize_with_password(page)

    dialog.get_by_role("button", name="Close").click()
    operation = try_it_out(page, "get_me")
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"kind": "token"')
    expect(operation.locator(".live-responses-table")).to_contain_text('"name": "admin"')


@pytest.mark.parametrize("path", ["/api/docs", "/admin/login/"])
def test_deletes_the_credentials_that_earlier_versions_stored(page: Page, path: str) -> None:
    page.goto("/")
    page.evaluate('localStorage.setItem(\'authorized\', \'{"token": {"password": "secret"}}\')')

    page.goto(path)

    expect(page.locator("body")).to_be_visible()
    assert "secret" not in page.evaluate(STORED)


def test_authorize_stores_no_credential_in_the_browser(page: Page) -> None:
    authorize_with_password(page)

    assert PASSWORD not in page.evaluate(STORED)
    assert "authorized" not in page.evaluate(STORED)


def test_authorize_does_not_offer_the_session_cookie(page: Page) -> None:
    page.goto("/api/docs")

    page.get_by_role("button", name="Authorize", exact=True).click()

    expect(page.locator(".auth-container h4")).to_contain_text(["token (OAuth2, password)", "metrics"])


def test_try_it_out_sends_an_email_anonymously_and_with_a_session(page: Page) -> None:
    for logged_in in (False, True):
        if logged_in:
            log_in(page, PASSWORD)
        page.goto("/api/docs")
        operation = try_it_out(page, "send_email_in_background")
        operation.get_by_placeholder("email").fill("ada@example.com")
        operation.get_by_placeholder("message").fill("Hi")

        operation.get_by_role("button", name="Execute").click()

        expect(operation.locator(".live-responses-table")).to_contain_text("Email will be sent in the background")


def test_redoc_shows_the_title_and_the_operations(page: Page) -> None:
    page.goto("/api/redoc")

    expect(page).to_have_title("Mailrail: ReDoc")
    expect(page.get_by_role("heading", name="Mailrail")).to_be_visible()
    expect(page.get_by_role("heading", name="Add two numbers")).to_be_visible()


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_icon_of_the_docs_is_served_locally(page: Page, path: str) -> None:
    page.goto(path)

    # Playwright does not see the browser's request for the icon, so the `page` fixture cannot check it.
    expect(page.locator("link[rel*='icon']")).to_have_attribute("href", re.compile("^/api/docs/files/"))


def try_it_out(page: Page, operation_id: str) -> Locator:
    """Expand an operation in Swagger UI and press "Try it out". Return the operation's element."""
    operation = page.locator(f".opblock[id$='-{operation_id}']")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    return operation
