"""WebSockets count against the rate limit of their caller: the handshake, and all messages except pings."""

from typing import Any

import pytest
from pytest_django import Settings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from project.config.rates import parse_rate
from tests.fastapi_app.conftest import bearer

pytestmark = pytest.mark.usefixtures("shared_test_connection")

EVENTS, ECHO, TRY_AGAIN_LATER = "/api/ws/events", "/api/ws", 1013


def set_rate(settings: Settings, kind: str, rate: str) -> None:
    """Limit the calls of one kind of caller."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, kind: parse_rate(rate)}


def close_code(client: TestClient, path: str, *, headers: dict[str, str] | None = None, token: str | None = None) -> int | None:
    """Open a WebSocket. Return its close code, or None if it stays open."""
    with client.websocket_connect(path, headers=headers or {}) as socket:
        if token is not None:
            socket.send_json({"action": "authenticate", "token": token})
        if path == ECHO:
            socket.send_text("Hi")
        try:
            socket.receive_text()
        except WebSocketDisconnect as close:
            return close.code
        return None


def test_handshakes_of_a_key_are_limited(client_with_event_stream: TestClient, events_key: str, settings: Settings) -> None:
    set_rate(settings, "key", "2/minute")

    codes = [close_code(client_with_event_stream, EVENTS, headers=bearer(events_key)) for _ in range(3)]

    assert codes == [None, None, TRY_AGAIN_LATER]


def test_a_token_in_the_first_message_counts_for_its_key(
    client_with_event_stream: TestClient, events_key: str, settings: Settings
) -> None:
    set_rate(settings, "key", "1/minute")

    codes = [close_code(client_with_event_stream, EVENTS, token=events_key) for _ in range(2)]

    assert codes == [None, TRY_AGAIN_LATER]


@pytest.mark.parametrize("arguments", [{"headers": bearer("mr_nonsense")}, {"token": "mr_nonsense"}])
def test_guesses_are_limited_by_network(
    client_with_event_stream: TestClient, settings: Settings, arguments: dict[str, Any]
) -> None:
    set_rate(settings, "anonymous", "2/minute")

    codes = [close_code(client_with_event_stream, EVENTS, **arguments) for _ in range(3)]

    assert (codes[0], codes[-1]) == (4401, TRY_AGAIN_LATER)


def test_handshakes_of_the_echo_are_limited_by_network(client_with_event_stream: TestClient, settings: Settings) -> None:
    set_rate(settings, "anonymous", "3/minute")  # a handshake and a message, and the next handshake

    assert [close_code(client_with_event_stream, ECHO) for _ in range(2)] == [None, TRY_AGAIN_LATER]


@pytest.mark.parametrize(("path", "message"), [(ECHO, "Hi"), (EVENTS, '{"action": "ping"}'), (EVENTS, "nonsense")])
def test_messages_without_a_credential_are_limited_by_network(
    client_with_event_stream: TestClient, settings: Settings, path: str, message: str
) -> None:
    set_rate(settings, "anonymous", "3/minute")

    with client_with_event_stream.websocket_connect(path) as socket:
        for _ in range(2):
            socket.send_text(message)
            socket.receive_text()
        socket.send_text(message)
        with pytest.raises(WebSocketDisconnect) as close:
            socket.receive_text()

    assert close.value.code == TRY_AGAIN_LATER


@pytest.mark.parametrize(("message", "answer"), [('{"action": "subscribe"}', "subscribed"), ("nonsense", "error")])
def test_messages_of_a_key_are_limited_and_the_socket_stays_open(
    client_with_event_stream: TestClient, events_key: str, settings: Settings, message: str, answer: str
) -> None:
    set_rate(settings, "key", "2/minute")

    with client_with_event_stream.websocket_connect(EVENTS, headers=bearer(events_key)) as socket:
        socket.receive_json()
        answers = []
        for each in (message, message, '{"action": "ping"}'):
            socket.send_text(each)
            answers.append(socket.receive_json())

    assert [each["type"] for each in answers] == [answer, "error", "pong"]
    assert "Too many requests" in answers[1]["detail"]
