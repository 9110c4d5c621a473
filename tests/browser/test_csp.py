"""The pages under their Content-Security-Policy: all of them work, and an injected script does not."""

from collections.abc import Callable

import pytest

from tests.browser.admin_pages import sign_in
from tests.browser.chromium import BrowserContext, Page, expect
from tests.browser.test_docs import try_it_out
from tests.conftest import PASSWORD
from tests.processes import Server

REPORT = """addEventListener("securitypolicyviolation", (event) =>
  reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile} on ${event.documentURI}`))"""
INJECTED = """() => {
  document.body.insertAdjacentHTML("beforeend", "<img src=data:, onerror='window.ran = true'>");
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
}"""
BACK_OFFICE = [
    "/admin/",
    "/admin/emails/email/",
    "/admin/transports/mailboxmessage/",
    "/admin/suppressions/suppression/",
    "/admin/mail_templates/template/add/",
    "/admin/api_keys/apikey/add/",
    "/admin/accounts/user/add/",
    "/admin/audit/auditevent/",
    "/admin/password_change/",
]


@pytest.fixture
def violations(context: BrowserContext) -> list[str]:
    """What the browser kept from happening, in any page of this context."""
    found: list[str] = []

    def note(text: str) -> None:  # Playwright marks what it is given, and `found.append` takes no mark
        found.append(text)

    context.expose_function("reportViolation", note)
    context.add_init_script(REPORT)
    return found


@pytest.fixture
def settle(context: BrowserContext) -> Callable[[Page], None]:
    """Wait until a page has loaded all it wants, and its reports are in."""

    def settle(page: Page) -> None:
        page.wait_for_load_state("networkidle")
        page.evaluate("0")

    return settle


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/docs", "/api/redoc"])
def test_public_pages_break_no_rule(page: Page, violations: list[str], settle: Callable[[Page], None], path: str) -> None:
    page.goto(path)

    settle(page)

    assert violations == []


def test_the_back_office_breaks_no_rule(page: Page, violations: list[str], settle: Callable[[Page], None]) -> None:
    sign_in(page, PASSWORD)

    for path in BACK_OFFICE:
        page.goto(path)
        settle(page)

    assert violations == []


def test_a_mail_is_shown_in_a_frame_and_breaks_no_rule(
    page: Page, server: Server, violations: list[str], settle: Callable[[Page], None]
) -> None:
    server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Parcel 4712\nIt left our house today."})
    sign_in(page, PASSWORD)

    page.goto("/admin/emails/email/")
    page.get_by_role("link", name="Parcel 4712").click()
    settle(page)

    expect(page.get_by_text("It left our house today.").first).to_be_visible()
    assert violations == []


def test_try_it_out_breaks_no_rule(page: Page, violations: list[str], settle: Callable[[Page], None]) -> None:
    page.goto("/api/docs")
    call = try_it_out(page, "add")
    call.get_by_placeholder("x").fill("3")
    call.get_by_placeholder("y").fill("5")

    call.get_by_role("button", name="Execute").click()

    expect(call.locator(".live-responses-table")).to_contain_text('"result": 8')
    settle(page)
    assert violations == []


def test_redocs_search_works_and_breaks_no_rule(page: Page, violations: list[str], settle: Callable[[Page], None]) -> None:
    page.goto("/api/redoc")

    page.get_by_placeholder("Search").fill("token")

    expect(page.get_by_role("search").get_by_role("menuitem").first).to_be_visible()
    settle(page)
    assert violations == []


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/docs", "/api/redoc"])
def test_an_injected_script_does_not_run(context: BrowserContext, violations: list[str], path: str) -> None:
    page = context.new_page()
    page.goto(path)

    page.evaluate(INJECTED)
    page.wait_for_timeout(0)

    assert page.evaluate("window.ran") is None
    assert any(violation.startswith("script-src") for violation in violations)


def test_nobody_frames_us(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto("/api/health/live")

    page.set_content(f'<iframe src="{server.url}/admin/login/"></iframe>')

    expect(page.frame_locator("iframe").get_by_label("Username")).to_have_count(0)
