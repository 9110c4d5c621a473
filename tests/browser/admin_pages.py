"""Steps that several browser tests share: log in, send an email, check accessibility."""

from pathlib import Path
from typing import Any

import httpx

from tests.browser.chromium import Page
from tests.processes import TLS, WAIT_TIMEOUT_SECONDS

AXE = Path(__file__).with_name("axe.min.js").read_text(encoding="utf-8")  # axe-core, from npm: Mozilla Public License 2.0


def log_in(page: Page, password: str, path: str = "/admin/") -> None:
    """Open a page that redirects to the login, and log in as the administrator."""
    page.goto(path)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login/" not in url)


def send(page: Page, url: str, **fields: Any) -> str:
    """Send an email through the API of the server at `url`, with the page's session. Return the email's id."""
    email = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Parcel", "text": "It left our house today."}
    return str(post(page, url, "/api/emails", email | fields)["id"])


def post(page: Page, url: str, path: str, body: Any) -> Any:
    """Send a POST request to the API with the page's session. Return the decoded response body."""
    return call_api(page, url, "POST", path, body)


def call_api(page: Page, url: str, method: str, path: str, body: Any) -> Any:
    """Send a request to the API with the page's session. Return the decoded response body."""
    cookies = {str(cookie.get("name")): str(cookie.get("value")) for cookie in page.context.cookies()}
    headers = {"X-CSRFToken": cookies["csrftoken"], "Origin": url}
    response = httpx.request(
        method, url + path, json=body, cookies=cookies, headers=headers, timeout=WAIT_TIMEOUT_SECONDS, verify=TLS
    )
    return response.raise_for_status().json()


def accessibility_violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """Return the violations of any impact that axe-core finds on the page, of all rules or only of `rules`."""
    page.evaluate(AXE)
    # New entries are highlighted by an animation, and axe-core judges contrast by the current colors.
    page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
    options = {"preload": False, "resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    violations: list[dict[str, Any]] = page.evaluate(
        "(options) => axe.run(document, options).then((run) => run.violations)", options
    )
    return [f"{each['id']}: {node['html'][:200]}" for each in violations for node in each["nodes"]]
