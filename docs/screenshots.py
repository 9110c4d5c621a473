"""`python -m docs.screenshots` takes the pictures in docs/images from a server of its own, with data that goes away again."""

import os
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.admin_pages import send, sign_in
from tests.browser.chromium import Browser, Page, expect, launched
from tests.processes import SERVERS, Server, running

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1200, 800), (390, 844)
MAILS = {
    "ada@example.com": "Your order is on its way\nHello Ada, parcel 4711 left our house this morning.",
    "grace@example.com": "Welcome aboard\nHello Grace, your account is ready.",
    "alan@example.com": "Your code is 271828\nIt is good for ten minutes.",
}
ELIDE = r"pre => { pre.textContent = pre.textContent.replace(/(mr_.{8})\w+/g, (key, start) => start.padEnd(key.length, '•')) }"
TEMPLATE = {
    "subject": "Welcome, {{ name }}",
    "text": "Hello {{ name }}, your account is ready.",
    "html": '<h1 style="color:#c2321a">Welcome, {{ name }}</h1>\n<p>Your {{ plan | default: "free" }} account is ready.</p>',
}


def main() -> None:
    """Start a server, send a few mails, take every picture."""
    password = secrets.token_urlsafe()
    with TemporaryDirectory() as folder:
        env = {"DATA_DIR": folder, "ADMIN_PASSWORD": password}
        command, log = [*SERVERS["serve"], "--prepare"], Path(folder) / "log"
        with running(command, log=log, env=env) as server:
            make_history(folder)  # first: events are in the order in which they happened
            for address, text in MAILS.items():
                server.post("/api/send-email/", email=address, message=text).raise_for_status()
            server.wait_for_log("Email sent successfully", times=len(MAILS))
            with launched() as browser:
                take_public(browser, server)
                take_dashboard(browser, server, password)
                take_office(browser, server, password)


def make_history(folder: str) -> None:
    """Fill the server's tables with an hour of mail, and a hundred that failed before."""
    os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "project.settings"}
    import django  # whose settings are made of the environment

    django.setup()
    from docs.history import write_an_hour, write_failed

    write_failed(100)
    write_an_hour()


def take_public(browser: Browser, server: Server) -> None:
    """The landing page, by day, by night and on a phone; and Swagger UI."""
    for name, size, dark in (("landing", DESKTOP, False), ("landing-dark", DESKTOP, True), ("phone", PHONE, False)):
        page = open_page(browser, server, size, dark=dark)
        page.goto("/")
        save(page, name)
    page = open_page(browser, server, DESKTOP)
    page.goto("/api/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    save(page, "swagger")


def take_office(browser: Browser, server: Server, password: str) -> None:
    """The mailbox, a key that was just made, a template's preview, the playground, a timeline, and many mails retried."""
    page = open_page(browser, server, DESKTOP)
    sign_in(page, password, "/admin/transports/mailboxmessage/")
    expect(page.locator("#result_list tbody tr")).to_have_count(len(MAILS))
    save(page, "admin-mailbox")
    take_key(page)
    take_template(page)
    take_play(page)
    take_timeline(page, server)
    take_retry(page)


def take_key(page: Page) -> None:
    """A key, shown once: its beginning, since no secret belongs in a picture, even one that is gone with its server."""
    page.goto("/admin/api_keys/apikey/add/")
    page.get_by_label("Name:").fill("shop")
    page.get_by_label("emails:send").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#key")).to_be_visible()
    for shown in ("#key", "#curl"):
        page.locator(shown).evaluate(ELIDE)
    save(page, "key")


def take_template(page: Page) -> None:
    """A template, with the preview of its mail beside what makes it."""
    page.goto("/admin/mail_templates/template/add/")
    page.locator("#id_slug").fill("welcome")
    for name, source in TEMPLATE.items():
        page.locator(f"#id_{name}").fill(source)
    page.locator("#id_variables").fill('{"name": "Ada"}')
    page.get_by_role("button", name="Preview").click()
    expect(page.frame_locator("iframe[name=preview]").locator(".preview-subject")).to_have_text("Welcome, Ada")
    page.locator("#id_html").scroll_into_view_if_needed()
    save(page, "template")


def take_play(page: Page) -> None:
    """The playground, with a mail that went."""
    page.goto("/play")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".story b").last).to_have_text("sent")
    save(page, "play")


def take_timeline(page: Page, server: Server) -> None:
    """One mail, put off and then taken."""
    email_id = send(page, server.url, to="slow+1@simulator.test", subject="Your order is on its way", tags={"order": "4711"})
    page.goto(f"/admin/emails/email/{email_id}/change/")
    expect(page.locator("#timeline .status").last).to_have_text("email.sent")
    save(page, "timeline")


def take_retry(page: Page) -> None:
    """A hundred failed mails, on their way again."""
    page.goto("/admin/emails/email/?status=failed")
    page.get_by_label("Select all objects on this page").check()
    page.get_by_label("Action:").select_option(label="Retry the selected e-mails")
    page.get_by_title("Run the selected action").click()
    expect(page.locator(".summary")).to_contain_text("sent")
    save(page, "retry")


def take_dashboard(browser: Browser, server: Server, password: str) -> None:
    """The dashboard: by day, by night, on a phone."""
    for name, size, dark in (
        ("dashboard", DESKTOP, False),
        ("dashboard-dark", DESKTOP, True),
        ("dashboard-phone", PHONE, True),
    ):
        page = open_page(browser, server, size, dark=dark)
        sign_in(page, password)
        expect(page.locator("#live")).to_have_text("Live")
        expect(page.locator("#events li").first).to_be_visible()
        page.wait_for_timeout(500)  # the bars rise
        save(page, name)


def open_page(browser: Browser, server: Server, size: tuple[int, int], *, dark: bool = False) -> Page:
    """An empty page of that size."""
    width, height = size
    return browser.new_page(
        base_url=server.url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if size == PHONE else 1,
    )


def save(page: Page, name: str) -> None:
    """Write its picture to docs/images; what loads late (a picture, a style) is waited for."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{name}.png", full_page=name == "phone")


if __name__ == "__main__":
    main()
