"""Origins that may open a WebSocket."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.websocket_origin import WebSocketOriginMiddleware


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept the WebSocket, and send a message."""
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def is_accepted(origin: str | None, *, host: str = "testserver", scheme: str = "ws") -> bool:
    """Return whether a WebSocket with this origin and this host is accepted."""
    client = TestClient(WebSocketOriginMiddleware(hello), base_url=f"{'https' if scheme == 'wss' else 'http'}://{host}")
    headers = {} if origin is None else {"Origin": origin}
    try:
        with client.websocket_connect(f"{scheme}://{host}/", headers=headers) as socket:
            return socket.receive_text() == "hello"
    except WebSocketDisconnect:
        return False


@pytest.mark.pitfall(18)
@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://testserver", True),
        ("https://testserver", False),
        ("http://testserver:8080", False),
        ("http://testserver.evil.example", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_accepts_our_own_origin_and_clients_that_are_not_browsers(origin: str | None, accepted: bool) -> None:
    assert is_accepted(origin) is accepted


@pytest.mark.pitfall(18)
def test_over_tls_our_own_origin_is_https() -> None:
    assert is_accepted("https://testserver", scheme="wss")
    assert not is_accepted("http://testserver", scheme="wss")


@pytest.mark.pitfall(18)
def test_rejects_a_foreign_origin_even_if_the_host_header_matches() -> None:
    assert not is_accepted("http://evil.example", host="evil.example")


@pytest.mark.pitfall(18)
def test_accepts_trusted_origins(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://mail.example.com", "https://*.example.org"]

    assert is_accepted("https://mail.example.com")
    assert is_accepted("https://any.example.org")
    assert not is_accepted("http://mail.example.com")
