"""Whom a socket without a credential is counted for. At its end, and with one: tests/servers/test_socket_limits.py."""

import pytest
from pytest_django import Settings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from project.asgi import application

ECHO = "/api/ws"
HEARD = "Message text was: Hi"


def coming_from(address: str) -> TestClient:
    """A client at an address."""
    return TestClient(application, client=(address, 4711))


def answer(client: TestClient) -> str | int:
    """What a new socket of this client is told, or the code with which it is closed."""
    with client.websocket_connect(ECHO) as websocket:
        try:
            websocket.send_text("Hi")
            return websocket.receive_text()
        except WebSocketDisconnect as closed:
            return closed.code


@pytest.mark.parametrize(
    ("first", "other", "told"),
    [
        ("192.0.2.1", "192.0.2.1", 1013),
        ("192.0.2.1", "192.0.2.2", HEARD),
        ("2001:db8::1", "2001:db8::2", 1013),  # one customer has all of them
        ("2001:db8::1", "2001:db8:0:1::1", HEARD),
    ],
)
def test_an_address_has_places_of_its_own(settings: Settings, first: str, other: str, told: str | int) -> None:
    settings.MAX_STREAMS_PER_CALLER = 1

    with coming_from(first).websocket_connect(ECHO):
        assert answer(coming_from(other)) == told
    assert answer(coming_from(other)) == HEARD
