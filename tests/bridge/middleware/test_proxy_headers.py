"""Forwarded headers: which proxies are trusted, and which IP address becomes the client's address."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from project.bridge.middleware.proxy_headers import ProxyHeadersMiddleware, parse_proxies

PROXY = "192.0.2.10"
CLIENT = "198.51.100.7"


async def endpoint(request: Request) -> JSONResponse:
    """Return the client's IP address and the scheme, as the application sees them."""
    return JSONResponse([request.client.host if request.client else None, request.url.scheme])


async def websocket_endpoint(socket: WebSocket) -> None:
    """Send the client's IP address and the scheme, as the application sees them."""
    await socket.accept()
    await socket.send_json([socket.client.host if socket.client else None, socket.url.scheme])


def client(*proxies: str, peer: str = PROXY) -> TestClient:
    """Return a client with the IP address `peer`, for an application that trusts `proxies`."""
    app = Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", websocket_endpoint)])
    return TestClient(ProxyHeadersMiddleware(app, proxies), client=(peer, 1))


def client_and_scheme(browser: TestClient, forwarded_for: str, proto: str = "https") -> list[str]:
    """Send forwarded headers. Return the client's IP address and the scheme, as the application sees them."""
    result: list[str] = browser.get("/", headers={"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": proto}).json()
    return result


def test_trusts_no_proxy_by_default() -> None:
    assert client_and_scheme(client(), CLIENT) == [PROXY, "http"]


def test_ignores_headers_from_an_untrusted_address() -> None:
    assert client_and_scheme(client(PROXY, peer=CLIENT), "203.0.113.1") == [CLIENT, "http"]


@pytest.mark.parametrize("proxy", [PROXY, "192.0.2.0/24"])
def test_trusts_a_configured_proxy(proxy: str) -> None:
    assert client_and_scheme(client(proxy), CLIENT) == [CLIENT, "https"]


def test_ignores_addresses_that_the_client_wrote_itself() -> None:
    assert client_and_scheme(client(PROXY), f"203.0.113.1, {CLIENT}") == [CLIENT, "https"]


def test_follows_a_chain_of_trusted_proxies() -> None:
    assert client_and_scheme(client("192.0.2.0/24"), f"{CLIENT}, 192.0.2.11") == [CLIENT, "https"]


@pytest.mark.parametrize("invalid", ["", "unknown", "a, b"])
def test_keeps_the_proxys_address_if_the_headers_are_invalid(invalid: str) -> None:
    assert client_and_scheme(client(PROXY), invalid, proto="gopher") == [PROXY, "http"]


def test_recognizes_an_ipv4_proxy_on_an_ipv6_socket() -> None:
    assert client_and_scheme(client(PROXY, peer=f"::ffff:{PROXY}"), CLIENT) == [CLIENT, "https"]


@pytest.mark.parametrize(("proxies", "expected"), [(["unix"], [CLIENT, "https"]), ([PROXY], ["", "http"])])
def test_trusts_a_unix_socket_only_if_configured(proxies: list[str], expected: list[str]) -> None:
    assert client_and_scheme(client(*proxies, peer=""), CLIENT) == expected


def test_a_websocket_gets_the_websocket_scheme() -> None:
    with client(PROXY).websocket_connect("/ws", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}) as socket:
        assert socket.receive_json() == [CLIENT, "wss"]


def test_rejects_a_proxy_that_is_not_an_address() -> None:
    with pytest.raises(ValueError, match="everyone"):
        parse_proxies(["everyone"])


@pytest.mark.parametrize(
    ("protos", "scheme"),
    [
        (["https", "http"], "http"),
        (["http", "https"], "https"),
        (["http, https"], "https"),
        (["https,HTTP"], "http"),
        (["https", "nonsense"], "http"),
    ],
)
def test_the_last_forwarded_scheme_wins_because_the_client_may_have_written_the_first(protos: list[str], scheme: str) -> None:
    headers = [("X-Forwarded-For", CLIENT), *(("X-Forwarded-Proto", proto) for proto in protos)]

    assert client(PROXY).get("/", headers=headers).json() == [CLIENT, scheme]
