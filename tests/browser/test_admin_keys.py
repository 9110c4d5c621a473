"""API keys in the back office, in a browser: made, copied off the page, and used."""

import re
import shlex

import httpx
import pytest

from tests.browser.chromium import Page, expect
from tests.processes import PATIENCE, Server

KEY = re.compile(r"mr_[A-Za-z0-9]{57}")


@pytest.fixture
def signed_in(signed_in: Page) -> Page:
    """The same, with a clipboard."""
    signed_in.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return signed_in


def make_key(page: Page, name: str, *scopes: str) -> None:
    """Fill in the form, and send it."""
    page.goto("/admin/api_keys/apikey/add/")
    page.get_by_label("Name:").fill(name)
    for scope in scopes or ("emails:send",):
        page.get_by_label(scope).check()
    page.get_by_label("Senders:").fill("*@example.com")
    page.get_by_role("button", name="Save").click()


def copied(page: Page, button: str) -> str:
    """What is in the clipboard after a click."""
    page.get_by_role("button", name=button).click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def send(server: Server, key: str) -> httpx.Response:
    """Send a mail with a key."""
    mail = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}
    return server.post("/api/emails", json=mail, headers={"Authorization": f"Bearer {key}"})


def test_a_key_that_is_copied_off_the_page_sends(signed_in: Page, server: Server) -> None:
    make_key(signed_in, "shop")

    key = copied(signed_in, "Copy key")

    assert KEY.fullmatch(key)
    assert send(server, key).status_code == 202


def test_the_curl_line_is_a_request_that_is_taken(signed_in: Page, server: Server) -> None:
    make_key(signed_in, "curl")

    words = shlex.split(copied(signed_in, "Copy command").replace("\\\n", ""))

    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    assert words[3] == f"{server.url}/api/emails"
    assert httpx.post(words[3], content=words[-1], headers=headers, timeout=PATIENCE).status_code == 202


def test_a_reload_shows_the_key_no_more_and_makes_no_other(signed_in: Page) -> None:
    make_key(signed_in, "reloaded")
    expect(signed_in.locator("#key")).to_have_text(KEY)

    signed_in.reload()

    expect(signed_in.get_by_role("heading", name="reloaded")).to_be_visible()
    assert not KEY.search(signed_in.content())
    signed_in.goto("/admin/api_keys/apikey/?q=reloaded")
    expect(signed_in.locator("#result_list tbody tr")).to_have_count(1)


def test_a_key_is_rotated_and_then_revoked(signed_in: Page, server: Server) -> None:
    make_key(signed_in, "rotated")
    old = copied(signed_in, "Copy key")

    signed_in.get_by_role("link", name="Done").click()
    signed_in.get_by_role("link", name="Rotate").click()
    signed_in.get_by_role("button", name="Rotate").click()
    new = copied(signed_in, "Copy key")
    both = [send(server, key).status_code for key in (old, new)]

    signed_in.get_by_role("link", name="Done").click()
    signed_in.get_by_role("link", name="Revoke").click()
    signed_in.get_by_role("button", name="Revoke").click()

    expect(signed_in.get_by_text("Revoked 1 API key.")).to_be_visible()
    assert both == [202, 202]
    assert [send(server, key).status_code for key in (old, new)] == [401, 401]


@pytest.mark.parametrize("width", [375, 1024])
def test_the_page_with_the_key_has_no_horizontal_scroll(signed_in: Page, width: int) -> None:
    signed_in.set_viewport_size({"width": width, "height": 812})

    make_key(signed_in, "narrow")

    expect(signed_in.get_by_role("button", name="Copy key")).to_be_visible()
    assert signed_in.evaluate("document.documentElement.scrollWidth") <= width
