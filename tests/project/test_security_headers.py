"""Security headers on the responses of both Django and FastAPI."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from project.bridge.middleware.security_headers import SecurityHeadersMiddleware, content_security_policy, security_headers

OWN_POLICY = "default-src 'none'"


async def plain(_request: Request) -> Response:
    """Return plain text without security headers."""
    return Response("Hi")


async def strict(_request: Request) -> Response:
    """Return a page that has its own Content-Security-Policy and X-Frame-Options headers."""
    return HTMLResponse("Hi", headers={"Content-Security-Policy": OWN_POLICY, "X-Frame-Options": "SAMEORIGIN"})


async def page(_request: Request) -> Response:
    """Return a page whose Content-Type header is in capital letters."""
    return Response("Hi", headers={"CONTENT-TYPE": "TEXT/HTML; charset=utf-8"})


def browser(base_url: str = "http://testserver", hsts_seconds: int = 0) -> TestClient:
    """Return a client of a small application with SecurityHeadersMiddleware."""
    app = Starlette(routes=[Route("/", plain), Route("/strict", strict), Route("/page", page)])
    secured = SecurityHeadersMiddleware(app, security_headers(content_security_policy()), hsts_seconds=hsts_seconds)
    return TestClient(secured, base_url=base_url)


ALL_RESPONSES = {
    "content-security-policy": content_security_policy(),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
HTML_PAGES = {
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/nowhere", "/api/docs"])
def test_every_html_page_has_all_headers(client: TestClient, path: str) -> None:
    assert {**ALL_RESPONSES, **HTML_PAGES}.items() <= client.get(path).headers.items()


@pytest.mark.parametrize("path", ["/api/", "/api/nowhere", "/api/openapi.json", "/api/docs/swagger.js"])
def test_every_other_response_has_the_headers_that_apply_to_it(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert ALL_RESPONSES.items() <= headers.items()
    assert headers.keys() & HTML_PAGES.keys() == set()


def test_recognizes_html_by_its_content_type_in_any_case() -> None:
    assert HTML_PAGES.items() <= browser().get("/page").headers.items()


def test_the_policy_allows_only_our_own_scripts_and_no_framing() -> None:
    policy = content_security_policy().split("; ")

    assert {"default-src 'self'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"frame-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert "unsafe" not in content_security_policy()


def test_only_redoc_may_use_inline_styles(client: TestClient) -> None:
    policy = client.get("/api/redoc").headers["Content-Security-Policy"]

    assert policy == content_security_policy(style_src="'self' 'unsafe-inline'", worker_src="blob:")


def test_a_header_of_the_response_takes_precedence() -> None:
    headers = browser().get("/strict").headers

    assert headers.get_list("Content-Security-Policy") == [OWN_POLICY]
    assert headers.get_list("X-Frame-Options") == ["SAMEORIGIN"]
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("base_url", "seconds", "header"),
    [("https://testserver", 60, "max-age=60"), ("http://testserver", 60, None), ("https://testserver", 0, None)],
)
def test_hsts_is_sent_over_tls_only(base_url: str, seconds: int, header: str | None) -> None:
    assert browser(base_url, seconds).get("/").headers.get("Strict-Transport-Security") == header
