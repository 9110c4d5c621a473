"""Unsafe requests that a web page of another origin sends without an Authorization header."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from project.bridge.middleware.cross_origin import CrossOriginMiddleware

EVIL = "http://evil.example"


def status(
    headers: dict[str, str], *, method: str = "POST", base_url: str = "http://testserver", trusted: tuple[str, ...] = ()
) -> int:
    """Return the status of a request with these headers."""
    app = CrossOriginMiddleware(PlainTextResponse("ok"), trusted=trusted)
    return TestClient(app, base_url=base_url).request(method, "/", headers=headers).status_code


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": EVIL}, 403),
        ({"Origin": EVIL, "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "https://testserver"}, 403),
        ({"Origin": "http://testserver:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_rejects_pages_of_another_origin(headers: dict[str, str], expected: int) -> None:
    assert status(headers) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_unsafe_method_is_checked(method: str) -> None:
    assert status({"Origin": EVIL}, method=method) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_method_is_not_checked(method: str) -> None:
    assert status({"Origin": EVIL}, method=method) == 200


def test_a_request_with_an_authorization_header_passes() -> None:
    assert status({"Origin": EVIL, "Authorization": "Bearer mr_x"}) == 200


def test_over_tls_our_own_origin_is_https() -> None:
    assert status({"Origin": "https://testserver"}, base_url="https://testserver") == 200
    assert status({"Origin": "http://testserver"}, base_url="https://testserver") == 403


def test_accepts_the_host_name_that_the_page_was_loaded_from() -> None:
    assert status({"Origin": "http://mailrail:8000"}, base_url="http://mailrail:8000") == 200


@pytest.mark.parametrize(("trusted", "expected"), [(EVIL, 200), ("http://other.example", 403), ("*", 403)])
def test_accepts_the_given_origins(trusted: str, expected: int) -> None:
    assert status({"Origin": EVIL}, trusted=(trusted,)) == expected


def test_accepts_the_trusted_origins_of_django(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.org"]

    assert status({"Origin": "https://any.example.org", "Sec-Fetch-Site": "cross-site"}) == 200
    assert status({"Origin": "http://any.example.org"}) == 403
