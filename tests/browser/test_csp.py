"""Every page works under its Content-Security-Policy, and an injected script does not run."""

from collections.abc import Callable

import pytest

from tests.browser.admin_pages import log_in
from tests.browser.chromium import BrowserContext, Page, expect
from tests.browser.test_openapi_ui import try_it_out
from tests.conftest import PASSWORD
from tests.processes import Server

WaitUntilLoaded = Callable[[Page], None]

REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile} on ${event.documentURI}`))"""
INJECT_SCRIPTS = """() => {
  document.body.insertAdjacentHTML("beforeend", "<img src=data:, onerror='window.ran = true'>");
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
}"""
ADMIN_PAGES = [
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
    """Collect the policy violations of all pages in this context."""
    found: list[str] = []

    def report(text: str) -> None:  # a function instead of `found.append`, because Playwright sets an attribute on the handler
        found.append(text)

    context.expose_function("reportViolation", report)
    context.add_init_script(REPORT_VIOLATIONS)
    return found


@pytest.fixture
def wait_until_loaded(context: BrowserContext) -> WaitUntilLoaded:
    """Return a function that waits until a page has loaded everything and all violation reports have arrived."""

    def wait_until_loaded(page: Page) -> None:
        page.wait_for_load_state("networkidle")
        page.evaluate("0")

    return wait_until_loaded


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/docs", "/api/redoc"])
def test_public_pages_do_not_violate_the_policy(
    page: Page, violations: list[str], wait_until_loaded: WaitUntilLoaded, path: str
) -> None:
    page.goto(path)

    wait_until_loaded(page)

    assert violations == []


def test_admin_pages_do_not_violate_the_policy(page: Page, violations: list[str], wait_until_loaded: WaitUntilLoaded) -> None:
    log_in(page, PASSWORD)

    for path in ADMIN_PAGES:
        page.goto(path)
        wait_until_loaded(page)

    assert violations == []


def test_an_email_page_with_its_frame_does_not_violate_the_policy(
    page: Page, server: Server, violations: list[str], wait_until_loaded: WaitUntilLoaded
) -> None:
    server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Parcel 4712\nIt left our house today."})
    log_in(page, PASSWORD)

    page.goto("/admin/emails/email/")
    page.get_by_role("link", name="Parcel 4712").click()
    wait_until_loaded(page)

    expect(page.get_by_text("It left our house today.").first).to_be_visible()
    assert violations == []


def test_try_it_out_does_not_violate_the_policy(page: Page, violations: list[str], wait_until_loaded: WaitUntilLoaded) -> None:
    page.goto("/api/docs")
    operation = try_it_out(page, "add")
    operation.get_by_placeholder("x").fill("3")
    operation.get_by_placeholder("y").fill("5")

    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table")).to_contain_text('"result": 8')
    wait_until_loaded(page)
    assert violations == []


def test_redoc_search_does_not_violate_the_policy(page: Page, violations: list[str], wait_until_loaded: WaitUntilLoaded) -> None:
    page.goto("/api/redoc")

    page.get_by_placeholder("Search").fill("token")

    expect(page.get_by_role("search").get_by_role("menuitem").first).to_be_visible()
    wait_until_loaded(page)
    assert violations == []


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/docs", "/api/redoc"])
def test_an_injected_script_does_not_run(context: BrowserContext, violations: list[str], path: str) -> None:
    page = context.new_page()
    page.goto(path)

    page.evaluate(INJECT_SCRIPTS)
    page.wait_for_timeout(0)

    assert page.evaluate("window.ran") is None
    assert any(violation.startswith("script-src") for violation in violations)


def test_the_login_page_cannot_be_framed(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto("/api/health/live")

    page.set_content(f'<iframe src="{server.url}/admin/login/"></iframe>')

    expect(page.frame_locator("iframe").get_by_label("Username")).to_have_count(0)
