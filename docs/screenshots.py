"""`python -m docs.screenshots` takes the pictures in docs/images from a server of its own, with data that goes away again."""

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import Browser, Page, expect, launched
from tests.processes import SERVERS, Server, running

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1200, 800), (390, 844)
MAILS = {
    "ada@example.com": "Your order is on its way\nHello Ada, parcel 4711 left our house this morning.",
    "grace@example.com": "Welcome aboard\nHello Grace, your account is ready.",
    "alan@example.com": "Your code is 271828\nIt is good for ten minutes.",
}


def main() -> None:
    """Start a server, send a few mails, take every picture."""
    password = secrets.token_urlsafe()
    with TemporaryDirectory() as folder:
        env = {"DATA_DIR": folder, "ADMIN_PASSWORD": password}
        command, log = [*SERVERS["serve"], "--prepare"], Path(folder) / "log"
        with running(command, log=log, env=env) as server, launched() as browser:
            for address, text in MAILS.items():
                server.post("/api/send-email/", email=address, message=text).raise_for_status()
            take_landing(browser, server)
            take_swagger(browser, server)
            take_mailbox(browser, server, password)


def take_landing(browser: Browser, server: Server) -> None:
    """The landing page: by day, by night, on a phone."""
    for name, size, dark in (("landing", DESKTOP, False), ("landing-dark", DESKTOP, True), ("phone", PHONE, False)):
        page = open_page(browser, server, size, dark=dark)
        page.goto("/")
        save(page, name)


def take_swagger(browser: Browser, server: Server) -> None:
    """Swagger UI."""
    page = open_page(browser, server, DESKTOP)
    page.goto("/api/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    save(page, "swagger")


def take_mailbox(browser: Browser, server: Server, password: str) -> None:
    """The embedded mailbox in the admin, when every mail has arrived."""
    server.wait_for_log("Email sent successfully", times=len(MAILS))
    page = open_page(browser, server, DESKTOP)
    page.goto("/admin/outbox/mailboxmessage/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(len(MAILS))
    save(page, "admin-mailbox")


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
    page.screenshot(path=IMAGES / f"{name}.png", full_page=page.viewport_size != {"width": DESKTOP[0], "height": DESKTOP[1]})


if __name__ == "__main__":
    main()
