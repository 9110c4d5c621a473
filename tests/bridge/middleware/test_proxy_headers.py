"""Whose word on the client's address and scheme counts."""

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


async def tell(request: Request) -> JSONResponse:
    """Who called, and how."""
    return JSONResponse([request.client.host if request.client else None, request.url.scheme])


async def tell_socket(socket: WebSocket) -> None:
    """The same of a socket."""
    await socket.accept()
    await socket.send_json([socket.client.host if socket.client else None, socket.url.scheme])


def client(*proxies: str, peer: str = PROXY) -> TestClient:
    """Somebody at `peer`, before an application that believes `proxies`."""
    app = Starlette(routes=[Route("/", tell), WebSocketRoute("/ws", tell_socket)])
    return TestClient(ProxyHeadersMiddleware(app, proxies), client=(peer, 1))


def told(browser: TestClient, forwarded_for: str, proto: str = "https") -> list[str]:
    """What the application takes the caller for."""
    answer: list[str] = browser.get("/", headers={"X-Forwarded-For": forwarded_for, "X-Forwarded-Proto": proto}).json()
    return answer


def test_nobody_is_believed_unless_named() -> None:
    assert told(client(), CLIENT) == [PROXY, "http"]


def test_a_stranger_is_not_believed() -> None:
    assert told(client(PROXY, peer=CLIENT), "203.0.113.1") == [CLIENT, "http"]


@pytest.mark.parametrize("proxy", [PROXY, "192.0.2.0/24"])
def test_a_proxy_that_is_named_is_believed(proxy: str) -> None:
    assert told(client(proxy), CLIENT) == [CLIENT, "https"]


def test_what_the_client_writes_itself_does_not_count() -> None:
    assert told(client(PROXY), f"203.0.113.1, {CLIENT}") == [CLIENT, "https"]


def test_the_chain_is_followed_through_all_proxies_of_ours() -> None:
    assert told(client("192.0.2.0/24"), f"{CLIENT}, 192.0.2.11") == [CLIENT, "https"]


@pytest.mark.parametrize("nonsense", ["", "unknown", "a, b"])
def test_nonsense_leaves_the_proxys_own_address(nonsense: str) -> None:
    assert told(client(PROXY), nonsense, proto="gopher") == [PROXY, "http"]


def test_a_proxy_is_known_on_a_socket_for_both_versions_of_ip() -> None:
    assert told(client(PROXY, peer=f"::ffff:{PROXY}"), CLIENT) == [CLIENT, "https"]


@pytest.mark.parametrize(("proxies", "expected"), [(["unix"], [CLIENT, "https"]), ([PROXY], ["", "http"])])
def test_a_unix_socket_is_believed_if_it_is_named(proxies: list[str], expected: list[str]) -> None:
    assert told(client(*proxies, peer=""), CLIENT) == expected


def test_a_websocket_is_told_in_its_own_scheme() -> None:
    with client(PROXY).websocket_connect("/ws", headers={"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}) as socket:
        assert socket.receive_json() == [CLIENT, "wss"]


def test_what_is_no_address_is_no_proxy() -> None:
    with pytest.raises(ValueError, match="everybody"):
        parse_proxies(["everybody"])
