"""The socket of events: what is told there, and what may be said."""

from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from fastapi_app.events.schemas import ClientMessage, EventOut, Pong, Ready, SocketError
from project.api_keys.models import ApiKey
from project.auth.principal import Principal
from project.bridge.database.transactions import call_in_transaction
from project.emails.actions import cancel_email
from project.events.selectors import events_after
from tests.fastapi_app.conftest import bearer
from tests.fastapi_app.events.event_helpers import SOCKET, committed, send
from tests.project.conftest import NOW

EVENT: TypeAdapter[Any] = TypeAdapter(EventOut)


def whose() -> str:
    """The `caller_id` of the key."""
    return f"key:{ApiKey.objects.get().pk}"


@committed
def test_a_socket_hears_of_what_happens(live: TestClient, events_key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(events_key)) as socket:
        ready = Ready.model_validate(socket.receive_json())
        ids = send(3, owner_id=whose())
        send(owner_id="key:0")
        ids += send(owner_id=whose())

        events = [EVENT.validate_python(socket.receive_json()) for _ in ids]

    assert [event.data.email_id for event in events] == ids
    assert [event.id > ready.cursor for event in events] == [True] * 4
    assert [event.id for event in events] == sorted(event.id for event in events)


@committed
def test_a_socket_begins_after_the_event_that_was_seen_last(live: TestClient, events_key: str) -> None:
    ids = send(3, owner_id=whose())
    first = events_after(0, limit=1)[0].pk

    with live.websocket_connect(f"{SOCKET}?after={first}", headers=bearer(events_key)) as socket:
        ready = socket.receive_json()
        events = [socket.receive_json() for _ in ids[1:]]

    assert ready == {"type": "ready", "cursor": first}
    assert [event["data"]["email_id"] for event in events] == [str(email_id) for email_id in ids[1:]]


@committed
def test_a_socket_hears_what_it_asked_for_last(live: TestClient, events_key: str) -> None:
    email_id, other = send(2, owner_id=whose())
    with live.websocket_connect(f"{SOCKET}?types=email.sent", headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_json({"action": "subscribe", "types": ["email.canceled"], "email_id": str(email_id)})
        socket.send_json({"action": "ping"})
        assert socket.receive_json() == Pong().model_dump()

        for each in (other, email_id):
            call_in_transaction(cancel_email, each, principal=Principal("key", "shop", frozenset(), whose()), now=NOW)

        told = socket.receive_json()
    assert (told["type"], told["data"]["email_id"]) == ("email.canceled", str(email_id))


@committed
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be"),
        ('{"action": "dance"}', "dance"),
        ('{"action": "ping", "loud": true}', "loud"),
        ('{"action": "subscribe", "types": ["email.lost"]}', "types"),
        ('{"action": "subscribe", "email_id": 1}', "email_id"),
        ('{"action": "authenticate", "token": "x"}', "already"),
        ("x" * 4097, "4096"),
    ],
)
def test_what_is_not_understood_is_said_and_the_socket_stays_open(
    live: TestClient, events_key: str, text: str, complaint: str
) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_text(text)

        assert complaint in SocketError.model_validate(socket.receive_json()).detail
        socket.send_json({"action": "ping"})
        assert socket.receive_json() == {"type": "pong"}


@committed
def test_bytes_are_not_understood_either(live: TestClient, events_key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(events_key)) as socket:
        socket.receive_json()
        socket.send_bytes(b'{"action": "ping"}')

        assert socket.receive_json()["type"] == "error"


def test_what_a_client_may_say_is_tagged_by_action() -> None:
    schema = TypeAdapter(ClientMessage).json_schema()

    assert set(schema["discriminator"]["mapping"]) == {"authenticate", "subscribe", "ping"}
