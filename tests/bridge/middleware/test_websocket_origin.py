"""Where WebSockets may come from."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from project.bridge.middleware.websocket_origin import WebSocketOriginMiddleware


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and say so."""
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def is_accepted(origin: str | None, *, host: str = "testserver", scheme: str = "ws") -> bool:
    """Whether a socket with these headers gets in."""
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
def test_only_our_own_pages_and_no_browsers(origin: str | None, accepted: bool) -> None:
    assert is_accepted(origin) is accepted


@pytest.mark.pitfall(18)
def test_over_tls_our_own_page_is_https() -> None:
    assert is_accepted("https://testserver", scheme="wss")
    assert not is_accepted("http://testserver", scheme="wss")


@pytest.mark.pitfall(18)
def test_a_page_of_a_host_that_is_not_ours_is_refused_though_the_host_header_agrees() -> None:
    assert not is_accepted("http://evil.example", host="evil.example")


@pytest.mark.pitfall(18)
def test_trusted_origins_are_ours_too(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://mail.example.com", "https://*.example.org"]

    assert is_accepted("https://mail.example.com")
    assert is_accepted("https://any.example.org")
    assert not is_accepted("http://mail.example.com")
