"""The landing page."""

import re
from pathlib import Path
from typing import Literal

import pytest

from tests.browser.chromium import Page, Route, expect
from tests.processes import ROOT, Server

LOGO = Path("project/static/mailrail/logo.svg")

LINKS = {
    "Admin": "/admin/",
    "API docs": "/api/docs",
    "Reference": "/api/redoc",
    "OpenAPI": "/api/openapi.json",
    "Health": "/api/health/ready",
}

# Returns each text with its contrast to the nearest background that is not transparent.
CONTRASTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const background = (element) => {
    const [red, green, blue, alpha = 1] = channels(getComputedStyle(element).backgroundColor);
    return alpha ? [red, green, blue] : background(element.parentElement);
  };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const contrast = (element) => {
    const both = [luminance(channels(getComputedStyle(element).color)), luminance(background(element))];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.body.querySelectorAll("*")].filter(hasText);
  return texts.map((element) => [element.textContent.trim(), contrast(element)]);
}"""


@pytest.mark.parametrize("name", LINKS)
def test_links_to_every_page(page: Page, server: Server, name: str) -> None:
    page.goto("/")

    link = page.get_by_role("main").get_by_role("link", name=name)

    expect(link).to_have_attribute("href", LINKS[name])
    assert server.get(LINKS[name]).status_code in (200, 302)  # the admin redirects to its login


def test_the_landing_page_is_styled(page: Page) -> None:
    page.goto("/")

    expect(page.locator(".link-cards")).to_have_css("display", "grid")
    expect(page.locator("body")).to_have_css("background-color", "rgb(250, 248, 244)")
    assert page.locator(".brand img").evaluate("logo => logo.complete && logo.naturalWidth") == 32


def test_shows_a_curl_command_for_this_server(page: Page, server: Server) -> None:
    page.goto("/")

    expect(page.locator(".command")).to_have_text(f'curl -X POST "{server.url}/api/send-email/?email=ada@example.com&message=Hi"')


def test_favicon_ico_is_the_logo(server: Server) -> None:
    response = server.get("/favicon.ico", follow_redirects=True)

    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.content == (ROOT / LOGO).read_bytes()


def test_one_click_selects_only_the_command(page: Page) -> None:
    page.goto("/")

    page.locator(".command").click()

    assert re.fullmatch(r'curl -X POST ".*"', page.evaluate("String(getSelection()).trim()"))


@pytest.mark.parametrize("width", [320, 375, 768, 820, 1024])
def test_the_landing_page_has_no_horizontal_scroll(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 812})

    page.goto("/")

    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (
        page.locator(".link-cards a, .steps li, .terminal").evaluate_all(
            "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent)"
        )
        == []
    )


def test_the_landing_page_has_a_dark_mode(page: Page) -> None:
    page.emulate_media(color_scheme="dark")

    page.goto("/")

    expect(page.locator("body")).to_have_css("background-color", "rgb(18, 19, 22)")
    expect(page.locator("h1")).to_have_css("color", "rgb(242, 239, 233)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_sufficient_contrast(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)

    page.goto("/")

    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 30
    assert {text: contrast for text, contrast in contrasts if contrast < 4.5} == {}  # WCAG 2.2, 1.4.3


def test_the_landing_page_works_under_a_strict_content_security_policy(page: Page) -> None:
    policy = "default-src 'none'; style-src 'self'; img-src 'self'"

    def respond_with_policy(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers={**response.headers, "content-security-policy": policy})

    page.route(lambda url: url.endswith("/"), respond_with_policy)

    page.goto("/")  # a script, an inline style or a request to another host would be a console error

    expect(page.locator(".link-cards")).to_have_css("display", "grid")
