"""HTTPS is required for requests and WebSockets. Probe requests from this machine are an exception."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.https_only import HTTPSOnlyMiddleware

OTHER_MACHINE = "198.51.100.7"


async def endpoint(_request: Request) -> PlainTextResponse:
    """Respond to a request that the middleware passes on."""
    return PlainTextResponse("passed")


async def websocket_endpoint(socket: WebSocket) -> None:
    """Accept a WebSocket that the middleware passes on, and send a message."""
    await socket.accept()
    await socket.send_text("passed")


def client(peer: str = OTHER_MACHINE, *, scheme: str = "http") -> TestClient:
    """Return a client with the IP address `peer`."""
    routes = [Route("/", endpoint, methods=["GET", "POST"]), Route("/probe", endpoint), WebSocketRoute("/ws", websocket_endpoint)]
    app = HTTPSOnlyMiddleware(Starlette(routes=[*routes, WebSocketRoute("/probe", websocket_endpoint)]), probes=["/probe"])
    return TestClient(app, base_url=f"{scheme}://testserver", client=(peer, 1))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_rejects_a_plain_http_request(method: str) -> None:
    response = client().request(method, "/")

    assert (response.status_code, response.json()["code"]) == (403, "https_required")
    assert response.headers["Cache-Control"] == "no-store"


def test_passes_an_https_request() -> None:
    assert client(scheme="https").get("/").text == "passed"


@pytest.mark.parametrize("path", ["/ws", "/probe"])
def test_rejects_a_plain_websocket_before_accepting_it(path: str) -> None:
    with pytest.raises(WebSocketDisconnect), client("127.0.0.1").websocket_connect(path):
        pass


def test_passes_a_websocket_over_tls() -> None:
    with client(scheme="https").websocket_connect("wss://testserver/ws") as socket:
        assert socket.receive_text() == "passed"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", ""])
def test_passes_a_probe_from_this_machine(peer: str) -> None:
    assert client(peer).get("/probe").text == "passed"


@pytest.mark.parametrize("peer", [OTHER_MACHINE, "10.0.0.1", "localhost"])
def test_rejects_a_probe_from_another_machine(peer: str) -> None:
    assert client(peer).get("/probe").status_code == 403


def test_rejects_other_plain_requests_from_this_machine() -> None:
    assert client("127.0.0.1").get("/").status_code == 403
