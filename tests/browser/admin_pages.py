"""What people do in the back office, and what must hold of every page there."""

from pathlib import Path
from typing import Any

import httpx

from tests.browser.chromium import Page
from tests.processes import PATIENCE

AXE = Path(__file__).with_name("axe.min.js").read_text(encoding="utf-8")  # axe-core, from npm: Mozilla Public License 2.0


def sign_in(page: Page, password: str, path: str = "/admin/") -> None:
    """Go to a page, as the administrator, who has to log in first."""
    page.goto(path)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login/" not in url)


def send(page: Page, url: str, **more: Any) -> str:
    """Have a mail accepted by the API of the server there, for who is signed in at the page. Gives its id."""
    mail = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Parcel", "text": "It left our house today."}
    return str(post(page, url, "/api/emails", mail | more)["id"])


def post(page: Page, url: str, path: str, body: Any) -> Any:
    """Call the API, for who is signed in at the page."""
    cookies = {str(cookie.get("name")): str(cookie.get("value")) for cookie in page.context.cookies()}
    headers = {"X-CSRFToken": cookies["csrftoken"], "Origin": url}
    return httpx.post(url + path, json=body, cookies=cookies, headers=headers, timeout=PATIENCE).raise_for_status().json()


def serious(page: Page) -> list[str]:
    """What axe-core finds wrong with a page that keeps people from using it."""
    page.evaluate(AXE)
    # What is new shines for a moment, and a contrast is judged by the colours of the moment.
    page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
    found: list[dict[str, Any]] = page.evaluate("axe.run(document, {preload: false}).then((results) => results.violations)")
    kept = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html'][:200]}" for each in kept for node in each["nodes"]]
