"""All pages of ours have no violation of any axe-core rule, on a desktop and on a phone, in the light and the dark theme."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from django.contrib import admin
from django.template.loader import render_to_string

from tests.browser.admin_pages import accessibility_violations, call_api, log_in, post, send
from tests.browser.chromium import Browser, Page, expect
from tests.conftest import PASSWORD
from tests.processes import Server

Open = Callable[[Page], object]

DESKTOP, PHONE = 1200, 390
# All rules run on the desktop in light mode and on the phone in dark mode, and the rules about colors in the other two cases.
COLOR_RULES = ["color-contrast", "link-in-text-block"]
CASES: list[tuple[int, Literal["light", "dark"], list[str] | None]] = [
    (DESKTOP, "light", None),
    (DESKTOP, "dark", COLOR_RULES),
    (PHONE, "light", COLOR_RULES),
    (PHONE, "dark", None),
]
MODELS = {model._meta.label_lower: f"/admin/{model._meta.label_lower.replace('.', '/')}/" for model in admin.site._registry}
WITHOUT_ROWS = {
    *("auth.group", "emails.bulkaction", "retention.personerasure"),
    *("otp_totp.totpdevice", "otp_static.staticdevice", "delivery.relayoutage"),
}
WITH_ADD_PAGE = [
    "accounts.user",
    "api_keys.apikey",
    "auth.group",
    "mail_templates.template",
    "otp_static.staticdevice",
    "otp_totp.totpdevice",
    "retention.personerasure",
    "suppressions.suppression",
]


def violations(page: Page) -> list[str]:
    """Return the violations on the page, and the widths at which the page scrolls sideways."""
    found = []
    page.emulate_media(reduced_motion="reduce")  # a new event fades in with less contrast
    for width, scheme, rules in CASES:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        found += [f"{width} {scheme} {each}" for each in accessibility_violations(page, rules)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(f"{width} scrolls sideways")
    page.set_viewport_size({"width": DESKTOP, "height": 900})
    return found


@pytest.fixture(scope="module")
def visitor(browser: Browser, server: Server) -> Iterator[Page]:
    """Return the page of a visitor who is not logged in."""
    with browser.new_context(base_url=server.url) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def administrator(browser: Browser, server: Server) -> Iterator[Page]:
    """Return the page of an administrator, after emails with different results, a template and a suppression were created."""
    with browser.new_context(base_url=server.url) as context:
        page = context.new_page()
        log_in(page, PASSWORD)
        for to in (
            "ada@example.com",
            "bounce@simulator.test",
            "full@simulator.test",
            ["ada@example.com", "bounce@simulator.test"],
        ):
            send(page, server.url, to=to, html="<p>Hi</p>")
        email = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi", "tags": {"many": "yes"}}
        post(page, server.url, "/api/emails/batch", {"emails": [email] * 101})
        call_api(
            page, server.url, "PUT", "/api/templates/welcome", {"subject": "Hi {{ name }}", "text": "Hi", "html": "<p>Hi</p>"}
        )
        call_api(page, server.url, "PUT", "/api/suppressions/eve@example.com", {"reason": "asked for it"})
        create_key(page)
        page.goto("/admin/")
        expect(page.locator(".status-sent").first).to_be_visible()
        yield page


def goto(path: str) -> Open:
    """Return a function that opens a path."""
    return lambda page: page.goto(path)


def first_row(path: str) -> Open:
    """Return a function that opens the page of a list's first row."""

    def open_page(page: Page) -> None:
        page.goto(path)
        page.goto(str(page.locator("#result_list tbody a").first.get_attribute("href")))

    return open_page


def submit_wrong_password(page: Page) -> None:
    """Fail to log in."""
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errornote")).to_be_visible()


def submit_without_token(page: Page) -> None:
    """Submit a form without a CSRF token."""
    page.goto("/")
    page.evaluate("document.body.innerHTML = '<form method=post action=/admin/login/><button>Go</button></form>'")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading", name="The form was not accepted")).to_be_visible()


def rendered(template: str, **context: object) -> Open:
    """Return a function that opens a page rendered from a template, because no request causes it reliably."""

    def open_page(page: Page) -> None:
        body = render_to_string(template, context)
        page.route("**/rendered", lambda route: route.fulfill(body=body, content_type="text/html"))
        page.goto("/rendered")
        page.unroute("**/rendered")

    return open_page


def log_out(page: Page) -> None:
    """Log in and out again."""
    log_in(page, PASSWORD)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Logged out")).to_be_visible()


def create_key(page: Page) -> None:
    """Create an API key, and stay on the page that shows it."""
    page.goto("/admin/api_keys/apikey/add/")
    page.get_by_label("Name:").fill("shop")
    page.get_by_label("emails:send").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#key")).to_be_visible()


def key_page(action: str) -> Open:
    """Return a function that opens a page of the first API key."""

    def open_page(page: Page) -> None:
        page.goto("/admin/api_keys/apikey/")
        page.goto(str(page.locator("#result_list tbody th a").first.get_attribute("href")))
        page.goto(str(page.get_by_role("link", name=action).get_attribute("href")))

    return open_page


def confirm_bulk_action(page: Page) -> None:
    """Select all emails that match a tag, and stay on the page that asks for confirmation."""
    page.goto("/admin/emails/email/?tag=many:yes")
    page.get_by_label("Select all objects on this page").check()
    page.get_by_role("button", name="Select all").click()
    page.get_by_label("Action:").select_option(label="Cancel")
    page.get_by_title("Run the selected action").click()
    expect(page.get_by_role("heading", name="Cancel: all emails that match")).to_be_visible()


def run_bulk_action(page: Page) -> None:
    """Run a bulk action to its end."""
    confirm_bulk_action(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-field=state]")).to_have_text("finished")


def preview_erasure(page: Page) -> None:
    """Preview the erasure of a person, and stay on the page that asks for confirmation, with an error."""
    send(page, page.url.partition("/admin")[0], to="erased@example.com")
    page.goto("/admin/retention/personerasure/add/")
    page.get_by_label("Email addresses").fill("erased@example.com")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Erase permanently").click()
    expect(page.get_by_text("This is not the text to type.")).to_be_visible()


def run_erasure(page: Page) -> None:
    """Run an erasure to its end."""
    preview_erasure(page)
    page.get_by_label("to confirm").fill("erased@example.com")
    page.get_by_role("button", name="Erase permanently").click()
    expect(page.locator("[data-field=state]")).to_have_text("finished")


def watch_progress(page: Page) -> None:
    """Send two emails again, and stay on the page that shows their progress."""
    page.goto("/admin/emails/email/?tag=many:yes")
    for number in range(2):
        page.locator("input.action-select").nth(number).check()
    page.get_by_label("Action:").select_option(label="Send again")
    page.get_by_title("Run the selected action").click()
    expect(page.locator(".summary")).to_contain_text("2 of 2 done")


VISITOR_PAGES: dict[str, Open] = {
    "landing": goto("/"),
    "login": goto("/admin/"),
    "login with an error": submit_wrong_password,
    "404": goto("/nothing/"),
    "CSRF failure": submit_without_token,
    "400": rendered("400.html"),
    "403": rendered("403.html"),
    "500": rendered("500.html"),
    "locked out": rendered("admin/locked_out.html", minutes=5, site_header="Mailrail", title="Log in", site_title="Mailrail"),
    "logged out": log_out,
}
ADMIN_PAGES: dict[str, Open] = {
    "dashboard": goto("/admin/"),
    "playground": goto("/play"),
    "key created": create_key,
    **{f"list {name}": goto(path) for name, path in MODELS.items()},
    **{f"first {name}": first_row(path) for name, path in MODELS.items() if name not in WITHOUT_ROWS},
    **{f"add {name}": goto(f"{MODELS[name]}add/") for name in WITH_ADD_PAGE},
    "emails of a reason": goto("/admin/emails/email/?reason=550+5.1.1+No+such+mailbox&q=bounce@simulator.test"),
    "partly sent email": first_row("/admin/emails/email/?status=partly-sent"),
    "apps": goto("/admin/emails/"),
    "rotate": key_page("Rotate"),
    "revoke": key_page("Revoke"),
    "import": goto("/admin/suppressions/suppression/import/"),
    "removal of suppressions": goto("/admin/suppressions/suppression/remove/"),
    "delete": goto("/admin/suppressions/suppression/eve@example.com/delete/"),
    "history": goto("/admin/suppressions/suppression/eve@example.com/history/"),
    "two-factor": goto("/admin/two-factor/"),
    "sessions": goto("/admin/sessions/"),
    "reauthenticate": goto("/admin/reauthenticate/?next=/admin/"),
    "password": goto("/admin/password_change/"),
    "progress": watch_progress,
    "confirm bulk action": confirm_bulk_action,
    "bulk action": run_bulk_action,
    "confirm erasure": preview_erasure,
    "erasure": run_erasure,
}


@pytest.mark.parametrize("name", VISITOR_PAGES)
def test_a_public_page_is_accessible(visitor: Page, name: str) -> None:
    VISITOR_PAGES[name](visitor)

    assert violations(visitor) == []


@pytest.mark.parametrize("name", ADMIN_PAGES)
def test_a_page_of_the_admin_is_accessible(administrator: Page, name: str) -> None:
    ADMIN_PAGES[name](administrator)

    assert violations(administrator) == []
