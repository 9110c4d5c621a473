"""Connection limits of anonymous WebSockets. tests/servers/api/test_websocket_limits.py tests authenticated WebSockets."""

import pytest
from pytest_django import Settings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from project.asgi import application

ECHO = "/api/ws"
ECHOED = "Message text was: Hi"


def client_from(ip_address: str) -> TestClient:
    """Return a client that connects from this IP address."""
    return TestClient(application, client=(ip_address, 4711))


def echo_or_close_code(client: TestClient) -> str | int:
    """Open a WebSocket, send a message, and return the echo, or the close code if the WebSocket closes."""
    with client.websocket_connect(ECHO) as websocket:
        try:
            websocket.send_text("Hi")
            return websocket.receive_text()
        except WebSocketDisconnect as error:
            return error.code


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", 1013),
        ("192.0.2.1", "192.0.2.2", ECHOED),
        ("2001:db8::1", "2001:db8::2", 1013),  # both IP addresses are in the same /64 network
        ("2001:db8::1", "2001:db8:0:1::1", ECHOED),
    ],
)
def test_limits_anonymous_websockets_per_network(settings: Settings, first: str, other: str, expected: str | int) -> None:
    settings.MAX_STREAMS_PER_CALLER = 1

    with client_from(first).websocket_connect(ECHO):
        assert echo_or_close_code(client_from(other)) == expected
    assert echo_or_close_code(client_from(other)) == ECHOED
