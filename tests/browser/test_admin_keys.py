"""API keys in the admin: create a key, copy it from the page, use it, rotate it and revoke it."""

import re
import shlex

import httpx
import pytest

from tests.browser.chromium import Page, expect
from tests.processes import WAIT_TIMEOUT_SECONDS, Server

KEY = re.compile(r"mr_[A-Za-z0-9]{57}")


@pytest.fixture
def logged_in(logged_in: Page) -> Page:
    """Log in, and allow the page to use the clipboard. Return the page."""
    logged_in.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return logged_in


def create_key(page: Page, name: str, *scopes: str) -> None:
    """Submit the form for a new key."""
    page.goto("/admin/api_keys/apikey/add/")
    page.get_by_label("Name:").fill(name)
    for scope in scopes or ("emails:send",):
        page.get_by_label(scope).check()
    page.get_by_label("Allowed From addresses:").fill("*@example.com")
    page.get_by_role("button", name="Save").click()


def copy_with(page: Page, button: str) -> str:
    """Click a copy button. Return the text in the clipboard."""
    page.get_by_role("button", name=button).click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def send(server: Server, key: str) -> httpx.Response:
    """Send an email with the key."""
    email = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}
    return server.post("/api/emails", json=email, headers={"Authorization": f"Bearer {key}"})


def test_a_copied_key_can_send_emails(logged_in: Page, server: Server) -> None:
    create_key(logged_in, "shop")

    key = copy_with(logged_in, "Copy key")

    assert KEY.fullmatch(key)
    assert send(server, key).status_code == 202


def test_the_copied_curl_command_is_a_valid_request(logged_in: Page, server: Server) -> None:
    create_key(logged_in, "curl")

    words = shlex.split(copy_with(logged_in, "Copy command").replace("\\\n", ""))

    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    assert words[3] == f"{server.url}/api/emails"
    assert httpx.post(words[3], content=words[-1], headers=headers, timeout=WAIT_TIMEOUT_SECONDS).status_code == 202


def test_a_reload_hides_the_key_and_creates_no_other(logged_in: Page) -> None:
    create_key(logged_in, "reloaded")
    expect(logged_in.locator("#key")).to_have_text(KEY)
    expect(logged_in).to_have_url(re.compile("/change/$"))  # set by the page's script; a reload before it would submit the form

    logged_in.reload()

    expect(logged_in.get_by_role("heading", name="reloaded")).to_be_visible()
    assert not KEY.search(logged_in.content())
    logged_in.goto("/admin/api_keys/apikey/?q=reloaded")
    expect(logged_in.locator("#result_list tbody tr")).to_have_count(1)


def test_rotates_and_revokes_a_key(logged_in: Page, server: Server) -> None:
    create_key(logged_in, "rotated")
    old = copy_with(logged_in, "Copy key")

    logged_in.get_by_role("link", name="Done").click()
    logged_in.get_by_role("link", name="Rotate").click()
    logged_in.get_by_role("button", name="Rotate").click()
    new = copy_with(logged_in, "Copy key")
    after_rotation = [send(server, key).status_code for key in (old, new)]

    logged_in.get_by_role("link", name="Done").click()
    logged_in.get_by_role("link", name="Revoke").click()
    logged_in.get_by_role("button", name="Revoke").click()

    expect(logged_in.get_by_text("Revoked 1 API key.")).to_be_visible()
    assert after_rotation == [202, 202]
    assert [send(server, key).status_code for key in (old, new)] == [401, 401]


@pytest.mark.parametrize("width", [375, 1024])
def test_the_page_of_a_new_key_has_no_horizontal_scroll(logged_in: Page, width: int) -> None:
    logged_in.set_viewport_size({"width": width, "height": 812})

    create_key(logged_in, "narrow")

    expect(logged_in.get_by_role("button", name="Copy key")).to_be_visible()
    assert logged_in.evaluate("document.documentElement.scrollWidth") <= width
