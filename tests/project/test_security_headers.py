"""Security headers on what both halves answer."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from project.bridge.middleware.security_headers import SecurityHeadersMiddleware, content_security_policy, security_headers

OWN = "default-src 'none'"


async def plain(_request: Request) -> Response:
    """Says nothing of its own."""
    return Response("Hi")


async def strict(_request: Request) -> Response:
    """Brings a policy."""
    return HTMLResponse("Hi", headers={"Content-Security-Policy": OWN, "X-Frame-Options": "SAMEORIGIN"})


async def page(_request: Request) -> Response:
    """A page that says so in capitals."""
    return Response("Hi", headers={"CONTENT-TYPE": "TEXT/HTML; charset=utf-8"})


def browser(base_url: str = "http://testserver", hsts_seconds: int = 0) -> TestClient:
    """Before a small application with these headers."""
    app = Starlette(routes=[Route("/", plain), Route("/strict", strict), Route("/page", page)])
    guarded = SecurityHeadersMiddleware(app, security_headers(content_security_policy()), hsts_seconds=hsts_seconds)
    return TestClient(guarded, base_url=base_url)


FOR_ALL = {
    "content-security-policy": content_security_policy(),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
FOR_PAGES = {
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/nowhere", "/api/docs"])
def test_every_page_has_the_headers(client: TestClient, path: str) -> None:
    assert {**FOR_ALL, **FOR_PAGES}.items() <= client.get(path).headers.items()


@pytest.mark.parametrize("path", ["/api/", "/api/nowhere", "/api/openapi.json", "/api/docs/swagger.js"])
def test_every_other_answer_has_those_that_matter_beside_a_page(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert FOR_ALL.items() <= headers.items()
    assert headers.keys() & FOR_PAGES.keys() == set()


def test_a_page_is_known_by_its_type_however_that_is_written() -> None:
    assert FOR_PAGES.items() <= browser().get("/page").headers.items()


def test_the_policy_allows_no_script_but_files_of_ours_and_no_frame_around_us() -> None:
    policy = content_security_policy().split("; ")

    assert {"default-src 'self'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"frame-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert "unsafe" not in content_security_policy()


def test_only_redoc_has_styles_of_its_own(client: TestClient) -> None:
    policy = client.get("/api/redoc").headers["Content-Security-Policy"]

    assert policy == content_security_policy(style_src="'self' 'unsafe-inline'", worker_src="blob:")


def test_an_answers_own_header_wins() -> None:
    headers = browser().get("/strict").headers

    assert headers.get_list("Content-Security-Policy") == [OWN]
    assert headers.get_list("X-Frame-Options") == ["SAMEORIGIN"]
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("base_url", "seconds", "told"),
    [("https://testserver", 60, "max-age=60"), ("http://testserver", 60, None), ("https://testserver", 0, None)],
)
def test_browsers_are_told_to_come_over_tls_where_they_do_already(base_url: str, seconds: int, told: str | None) -> None:
    assert browser(base_url, seconds).get("/").headers.get("Strict-Transport-Security") == told
