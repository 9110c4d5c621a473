"""Over TLS or not at all: requests and sockets, and the probes of this machine."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.https_only import HTTPSOnlyMiddleware

ELSEWHERE = "198.51.100.7"


async def tell(_request: Request) -> PlainTextResponse:
    """That it got here."""
    return PlainTextResponse("here")


async def tell_socket(socket: WebSocket) -> None:
    """The same of a socket."""
    await socket.accept()
    await socket.send_text("here")


def client(peer: str = ELSEWHERE, *, scheme: str = "http") -> TestClient:
    """Somebody at `peer`."""
    routes = [Route("/", tell, methods=["GET", "POST"]), Route("/probe", tell), WebSocketRoute("/ws", tell_socket)]
    app = HTTPSOnlyMiddleware(Starlette(routes=[*routes, WebSocketRoute("/probe", tell_socket)]), probes=["/probe"])
    return TestClient(app, base_url=f"{scheme}://testserver", client=(peer, 1))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_in_the_clear_is_refused(method: str) -> None:
    answer = client().request(method, "/")

    assert (answer.status_code, answer.json()["code"]) == (403, "https_required")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_request_over_tls_is_passed_on() -> None:
    assert client(scheme="https").get("/").text == "here"


@pytest.mark.parametrize("path", ["/ws", "/probe"])
def test_a_socket_in_the_clear_is_refused_before_it_is_accepted(path: str) -> None:
    with pytest.raises(WebSocketDisconnect), client("127.0.0.1").websocket_connect(path):
        pass


def test_a_socket_over_tls_is_passed_on() -> None:
    with client(scheme="https").websocket_connect("wss://testserver/ws") as socket:
        assert socket.receive_text() == "here"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", ""])
def test_a_probe_of_this_machine_is_passed_on(peer: str) -> None:
    assert client(peer).get("/probe").text == "here"


@pytest.mark.parametrize("peer", [ELSEWHERE, "10.0.0.1", "localhost"])
def test_a_probe_from_elsewhere_is_refused(peer: str) -> None:
    assert client(peer).get("/probe").status_code == 403


def test_all_else_of_this_machine_is_refused() -> None:
    assert client("127.0.0.1").get("/").status_code == 403
