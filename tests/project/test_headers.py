"""Security headers on what both halves answer."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from project.bridge.headers import SecurityHeaders, content_policy, security_headers

OWN = "default-src 'none'"


async def plain(_request: Request) -> Response:
    """Says nothing of its own."""
    return Response("Hi")


async def strict(_request: Request) -> Response:
    """Brings a policy."""
    return Response("Hi", headers={"Content-Security-Policy": OWN, "X-Frame-Options": "SAMEORIGIN"})


def browser(base_url: str = "http://testserver", hsts_seconds: int = 0) -> TestClient:
    """Before a small application with these headers."""
    app = Starlette(routes=[Route("/", plain), Route("/strict", strict)])
    guarded = SecurityHeaders(app, security_headers(content_policy()), hsts_seconds=hsts_seconds)
    return TestClient(guarded, base_url=base_url)


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/nowhere", "/api/", "/api/docs", "/api/nowhere", "/api/openapi.json"])
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["Content-Security-Policy"] == content_policy()
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_the_policy_allows_no_script_but_files_of_ours_and_no_frame_around_us() -> None:
    policy = content_policy().split("; ")

    assert {"default-src 'self'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"frame-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert "unsafe" not in content_policy()


def test_only_redoc_has_styles_of_its_own(client: TestClient) -> None:
    policy = client.get("/api/redoc").headers["Content-Security-Policy"]

    assert policy == content_policy(style_src="'self' 'unsafe-inline'", worker_src="blob:")


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
