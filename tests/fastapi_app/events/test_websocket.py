"""The WebSocket of events: the events it sends, and the commands it accepts."""

from typing import Any

import pytest
from django.db import OperationalError
from pydantic import TypeAdapter
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from fastapi_app.events.schemas import ClientMessage, EventOut, Ready, SocketError
from fastapi_app.events.websocket import DATABASE_UNAVAILABLE_REASON
from project.api_keys.models import ApiKey
from project.auth.principal import Principal
from project.bridge.database.transactions import call_in_transaction
from project.emails.actions import cancel_email
from project.events import stream
from project.events.selectors import events_after
from tests.fastapi_app.conftest import bearer
from tests.fastapi_app.events.event_helpers import SOCKET_URL, committed, send
from tests.project.conftest import NOW

EVENT: TypeAdapter[Any] = TypeAdapter(EventOut)


def key_owner_id() -> str:
    """Return the `owner_id` of the only API key."""
    return f"key:{ApiKey.objects.get().pk}"


@committed
def test_sends_new_events_of_own_emails(client_with_event_stream: TestClient, events_key: str) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(events_key)) as socket:
        ready = Ready.model_validate(socket.receive_json())
        ids = send(3, owner_id=key_owner_id())
        send(owner_id="key:0")
        ids += send(owner_id=key_owner_id())

        events = [EVENT.validate_python(socket.receive_json()) for _ in ids]

    assert [event.data.email_id for event in events] == ids
    assert [event.id > ready.cursor for event in events] == [True] * 4
    assert [event.id for event in events] == sorted(event.id for event in events)


@committed
def test_replays_events_after_the_given_id(client_with_event_stream: TestClient, events_key: str) -> None:
    ids = send(3, owner_id=key_owner_id())
    first = events_after(0, limit=1)[0].pk

    with client_with_event_stream.websocket_connect(f"{SOCKET_URL}?after={first}", headers=bearer(events_key)) as socket:
        ready = socket.receive_json()
        events = [socket.receive_json() for _ in ids[1:]]

    assert ready == {"type": "ready", "cursor": first}
    assert [event["data"]["email_id"] for event in events] == [str(email_id) for email_id in ids[1:]]


@committed
def test_subscribe_replaces_the_filter(client_with_event_stream: TestClient, events_key: str) -> None:
    email_id, other = send(2, owner_id=key_owner_id())
    with client_with_event_stream.websocket_connect(f"{SOCKET_URL}?types=email.sent", headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_json({"action": "subscribe", "types": ["email.canceled"], "email_id": str(email_id)})
        assert socket.receive_json() == {"type": "subscribed", "types": ["email.canceled"], "email_id": str(email_id)}

        for canceled_id in (other, email_id):
            call_in_transaction(
                cancel_email, canceled_id, principal=Principal("key", "shop", frozenset(), key_owner_id()), now=NOW
            )

        event = socket.receive_json()
    assert (event["type"], event["data"]["email_id"]) == ("email.canceled", str(email_id))


@committed
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be"),
        ('{"action": "dance"}', '"authenticate", "subscribe" or "ping"'),
        ('{"type": "subscribe"}', '"authenticate", "subscribe" or "ping"'),
        ('{"action": "ping", "loud": true}', "loud"),
        ('{"action": "subscribe", "types": ["email.lost"]}', "types"),
        ('{"action": "subscribe", "email_id": 1}', "email_id"),
        ('{"action": "authenticate", "token": "x"}', "already"),
        ("x" * 4097, "4096"),
    ],
)
def test_reports_an_invalid_message_and_stays_open(
    client_with_event_stream: TestClient, events_key: str, text: str, problem: str
) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_text(text)

        assert problem in SocketError.model_validate(socket.receive_json()).detail
        socket.send_json({"action": "ping"})
        assert socket.receive_json() == {"type": "pong"}


@committed
def test_reports_a_binary_message_as_an_error(client_with_event_stream: TestClient, events_key: str) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_bytes(b'{"action": "ping"}')

        assert socket.receive_json()["type"] == "error"


def test_the_union_of_client_messages_is_tagged_by_action() -> None:
    schema = TypeAdapter(ClientMessage).json_schema()

    assert set(schema["discriminator"]["mapping"]) == {"authenticate", "subscribe", "ping"}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("after=x", "query.after: Input should be a valid integer"),
        ("after=-1", "query.after: Input should be greater than or equal to 0"),
        ("types=email.sent,bogus", "query.types: Value error, Unknown event type 'bogus'. Use one of"),
        ("email_id=42", "query.email_id: Input should be a valid UUID"),
        ("since=3", "query.since: Unknown query parameter. Known: after, email_id, types."),
    ],
)
def test_an_invalid_query_closes_the_socket_with_a_reason(client: TestClient, events_key: str, query: str, reason: str) -> None:
    with client.websocket_connect(f"{SOCKET_URL}?{query}", headers=bearer(events_key)) as socket:
        closed = socket.receive()

    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    assert closed["reason"].startswith(reason)


@pytest.mark.parametrize("types", ["x" * 400, "\N{EURO SIGN}" * 100, "a" + "\N{EURO SIGN}" * 100])
def test_a_close_reason_fits_into_a_frame(client: TestClient, events_key: str, types: str) -> None:
    with client.websocket_connect(SOCKET_URL, params={"types": types}, headers=bearer(events_key)) as socket:
        reason = socket.receive()["reason"]

    assert 118 <= len(reason.encode()) <= 123


@committed
@pytest.mark.parametrize(("failing_read", "query"), [("last_event_id", ""), ("events_after", "?after=0")])
def test_is_closed_with_1013_if_the_database_is_unavailable(
    client_with_event_stream: TestClient, events_key: str, monkeypatch: pytest.MonkeyPatch, failing_read: str, query: str
) -> None:
    """Both when the WebSocket is opened, and during the replay of past events."""
    send(owner_id=key_owner_id())

    def fail(*_args: Any, **_options: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(stream, failing_read, fail)

    connect = client_with_event_stream.websocket_connect(SOCKET_URL + query, headers=bearer(events_key))
    with connect as socket, pytest.raises(WebSocketDisconnect) as closed:
        _receive_until_closed(socket)

    assert (closed.value.code, closed.value.reason) == (1013, DATABASE_UNAVAILABLE_REASON)


def _receive_until_closed(socket: WebSocketTestSession) -> None:
    while True:
        socket.receive_json()
