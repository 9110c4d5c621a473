"""By which names the server goes."""

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.trusted_hosts import TrustedHostMiddleware


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Say hello, whichever way it was asked."""
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)
    else:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.close()


@pytest.fixture(autouse=True)
def _our_names(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["mail.example.com", ".example.org", "[::1]"]


@pytest.mark.parametrize("host", ["mail.example.com", "MAIL.example.com:8000", "any.example.org", "[::1]:8000"])
def test_our_own_hosts_are_served(host: str) -> None:
    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host}).text == "hello"


@pytest.mark.parametrize(
    "host", ["evil.example", "mail.example.com.evil.example", "evil.example:8000", "mail.example.com@evil", ""]
)
def test_any_other_host_is_a_bad_request(host: str) -> None:
    answer = TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host})

    assert answer.status_code == 400
    assert (answer.json().keys(), answer.json()["code"]) == ({"detail", "code"}, "bad_host")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["test", "mailrail:8000"])
def test_a_name_without_a_dot_is_served(host: str) -> None:
    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host}).text == "hello"


@pytest.mark.anyio
async def test_who_names_no_host_is_served() -> None:
    socket = WebsocketCommunicator(TrustedHostMiddleware(hello), "/")  # Channels' own client, which sends none

    connected, _ = await socket.connect()

    assert connected


def test_a_second_host_header_is_no_way_in() -> None:
    headers = [("Host", "mail.example.com"), ("Host", "evil.example")]

    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers=headers).status_code == 400


def test_a_socket_for_another_host_is_not_accepted() -> None:
    client = TestClient(TrustedHostMiddleware(hello))

    with client.websocket_connect("/", headers={"Host": "mail.example.com"}):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/", headers={"Host": "evil.example"}):
        pass
