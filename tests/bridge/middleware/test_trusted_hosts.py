"""Host names that FastAPI accepts."""

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.trusted_hosts import TrustedHostMiddleware


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept a request or a WebSocket."""
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)
    else:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.close()


@pytest.fixture(autouse=True)
def _allowed_hosts(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["mail.example.com", ".example.org", "[::1]"]


@pytest.mark.parametrize("host", ["mail.example.com", "MAIL.example.com:8000", "any.example.org", "[::1]:8000"])
def test_serves_allowed_hosts(host: str) -> None:
    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host}).text == "hello"


@pytest.mark.parametrize(
    "host", ["evil.example", "mail.example.com.evil.example", "evil.example:8000", "mail.example.com@evil", ""]
)
def test_rejects_any_other_host(host: str) -> None:
    response = TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host})

    assert response.status_code == 400
    assert (response.json().keys(), response.json()["code"]) == ({"detail", "code"}, "bad_host")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["test", "mailrail:8000"])
def test_serves_a_name_without_a_dot(host: str) -> None:
    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers={"Host": host}).text == "hello"


@pytest.mark.anyio
async def test_serves_a_client_that_sends_no_host() -> None:
    socket = WebsocketCommunicator(TrustedHostMiddleware(hello), "/")  # Channels' own client sends no Host header

    connected, _ = await socket.connect()

    assert connected


def test_rejects_a_second_host_header() -> None:
    headers = [("Host", "mail.example.com"), ("Host", "evil.example")]

    assert TestClient(TrustedHostMiddleware(hello)).get("/", headers=headers).status_code == 400


def test_rejects_a_websocket_for_another_host() -> None:
    client = TestClient(TrustedHostMiddleware(hello))

    with client.websocket_connect("/", headers={"Host": "mail.example.com"}):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/", headers={"Host": "evil.example"}):
        pass
