"""`python -m docs.screenshots` starts a server with temporary data and takes the screenshots in docs/images."""

import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.admin_pages import log_in, send
from tests.browser.chromium import Browser, Page, expect, launched
from tests.processes import SERVERS, Server, running

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1200, 800), (390, 844)  # CSS pixels
EMAILS = {
    "ada@example.com": "Your order is on its way\nHello Ada, parcel 4711 left our house this morning.",
    "grace@example.com": "Welcome aboard\nHello Grace, your account is ready.",
    "alan@example.com": "Your code is 271828\nIt is good for ten minutes.",
}
MASK_KEY = r"pre => { pre.textContent = pre.textContent.replace(/(mr_.{8})\w+/g, (key, start) => start.padEnd(key.length, '•')) }"
TEMPLATE = {
    "subject": "Welcome, {{ name }}",
    "text": "Hello {{ name }}, your account is ready.",
    "html": '<h1 style="color:#c2321a">Welcome, {{ name }}</h1>\n<p>Your {{ plan | default: "free" }} account is ready.</p>',
}


def main() -> None:
    """Start a server, create sample data, and take all screenshots."""
    password = secrets.token_urlsafe()
    with TemporaryDirectory() as folder:
        env = {"DATA_DIR": folder, "ADMIN_PASSWORD": password}
        command, log = [*SERVERS["serve"], "--prepare"], Path(folder) / "log"
        with running(command, log=log, env=env) as server:
            create_history(folder)  # first, because event ids must be in the order of the events' times
            for address, text in EMAILS.items():
                server.post("/api/send-email/", params={"email": address, "message": text}).raise_for_status()
            server.wait_for_log("Email sent successfully", times=len(EMAILS))
            with launched() as browser:
                take_public_pages(browser, server)
                take_dashboard(browser, server, password)
                take_admin_pages(browser, server, password)


def create_history(folder: str) -> None:
    """Fill the server's database with the emails of the past hour, and with a hundred emails that failed a day ago."""
    os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "project.settings"}
    import django  # not earlier, because the settings read the environment variables above

    django.setup()
    from docs.history import create_failed_emails, create_past_hour

    create_failed_emails(100)
    create_past_hour()


def take_public_pages(browser: Browser, server: Server) -> None:
    """Take screenshots of the landing page in light mode, in dark mode and on a phone, and Swagger UI."""
    for name, size, dark in (("landing", DESKTOP, False), ("landing-dark", DESKTOP, True), ("landing-phone", PHONE, False)):
        page = open_page(browser, server, size, dark=dark)
        page.goto("/")
        save(page, name, full_page=size == PHONE)
    page = open_page(browser, server, DESKTOP)
    page.goto("/api/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    save(page, "swagger")


def take_admin_pages(browser: Browser, server: Server, password: str) -> None:
    """Take screenshots of the mailbox, a new API key, a template's preview, the playground, a timeline, emails and a retry."""
    page = open_page(browser, server, DESKTOP)
    log_in(page, password, "/admin/transports/mailboxmessage/")
    expect(page.locator("#result_list tbody tr")).to_have_count(len(EMAILS))
    save(page, "mailbox")
    take_api_key(page)
    take_template(page)
    take_playground(page)
    take_timeline(page, server)
    take_emails(page, server)
    take_retry(page)


def take_api_key(page: Page) -> None:
    """Take a screenshot of a new key's page. The key is masked, because an image must not contain even a temporary secret."""
    page.goto("/admin/api_keys/apikey/add/")
    page.get_by_label("Name:").fill("shop")
    page.get_by_label("emails:send").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#key")).to_be_visible()
    for selector in ("#key", "#curl"):
        page.locator(selector).evaluate(MASK_KEY)
    save(page, "api-key")


def take_template(page: Page) -> None:
    """Take a screenshot of a template's form with its preview."""
    page.goto("/admin/mail_templates/template/add/")
    page.locator("#id_slug").fill("welcome")
    for name, source in TEMPLATE.items():
        page.locator(f"#id_{name}").fill(source)
    page.locator("#id_variables").fill('{"name": "Ada"}')
    page.get_by_role("button", name="Preview").click()
    expect(page.frame_locator("iframe[name=preview]").locator(".preview-subject")).to_have_text("Welcome, Ada")
    page.locator("#id_html").scroll_into_view_if_needed()
    save(page, "template")


def take_playground(page: Page) -> None:
    """Take a screenshot of the playground after an email was sent."""
    page.goto("/play")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".event-log b").last).to_have_text("sent")
    save(page, "playground")


def take_timeline(page: Page, server: Server) -> None:
    """Take a screenshot of the page of an email with its timeline."""
    email_id = send(page, server.url, to="slow+1@simulator.test", subject="Your order is on its way", tags={"order": "4711"})
    page.goto(f"/admin/emails/email/{email_id}/change/")
    expect(page.locator("#timeline .status").last).to_have_text("email.sent")
    save(page, "timeline")


def take_emails(page: Page, server: Server) -> None:
    """Take a screenshot of the list of emails, with emails of two priorities."""
    for subject, priority in (("Your code is 314159", "high"), ("News of November", "low")):
        send(page, server.url, subject=subject, priority=priority)
    page.goto("/admin/emails/email/")
    expect(page.locator("#result_list tbody tr").first).to_contain_text("News of November")
    save(page, "emails")


def take_retry(page: Page) -> None:
    """Take a screenshot of the progress page of a hundred retried emails."""
    page.goto("/admin/emails/email/?status=failed")
    page.get_by_label("Select all objects on this page").check()
    page.get_by_label("Action:").select_option(label="Retry now")
    page.get_by_title("Run the selected action").click()
    expect(page.locator(".summary")).to_contain_text("sent")
    save(page, "retry")


def take_dashboard(browser: Browser, server: Server, password: str) -> None:
    """Take screenshots of the dashboard in light mode, in dark mode and on a phone."""
    for name, size, dark in (
        ("dashboard", DESKTOP, False),
        ("dashboard-dark", DESKTOP, True),
        ("dashboard-phone", PHONE, True),
    ):
        page = open_page(browser, server, size, dark=dark)
        log_in(page, password)
        expect(page.locator("#live")).to_have_text("Live")
        expect(page.locator("#events li").first).to_be_visible()
        page.wait_for_timeout(500)  # wait until the chart's animation has ended
        save(page, name)


def open_page(browser: Browser, server: Server, size: tuple[int, int], *, dark: bool = False) -> Page:
    """Return an empty page with a viewport of this size. A phone has two device pixels per CSS pixel."""
    width, height = size
    return browser.new_page(
        base_url=server.url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if size == PHONE else 1,
    )


def save(page: Page, name: str, *, full_page: bool = False) -> None:
    """Write a screenshot to docs/images after everything has loaded and all CSS animations have ended."""
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
    page.screenshot(path=IMAGES / f"{name}.png", full_page=full_page)


if __name__ == "__main__":
    main()
