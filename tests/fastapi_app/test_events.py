"""Events as pages and on the socket, in this process. As a stream, and at speed: tests/servers/test_live.py."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.utils import timezone
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from fastapi_app.events import socket as conversation
from fastapi_app.events.follow import ASK_EVERY
from fastapi_app.events.schemas import TYPES, EventData, EventOut, Pong, Problem, Ready, Said
from fastapi_app.main import app
from project.accounts.keys import create_key, revoke_key
from project.accounts.models import ApiKey, User
from project.accounts.principal import Principal, of_session
from project.asgi import application
from project.bridge import database
from project.outbox.accept import accept_batch, message_order, prepare
from project.outbox.change import cancel_email
from project.outbox.claim import claim_emails
from project.outbox.live import Told
from project.outbox.models import Event
from project.outbox.outcomes import Outcome
from project.outbox.queries import events_after
from project.outbox.record import Attempt, record_outcomes
from project.outbox.replies import Reply
from project.outbox.retry import Fault
from project.outbox.suppressions import Entry, suppress_all
from tests.fastapi_app.conftest import GetToken, SignIn, bearer
from tests.project.conftest import ENGINE, NOW

ADA = "ada@example.com"
TAKEN = Outcome(reply=Reply(250, "2.0.0 Taken"))
TAKEN_BUT = Outcome(reply=Reply(250, "2.0.0 Taken"), refusals={"bob@example.com": Reply(550, "5.7.1 Blocked")})
LATER = Outcome("SMTPDataError: later", Fault.MESSAGE_TRANSIENT, Reply(451, "4.3.0 Later"))
BLOCKED = Outcome("SMTPDataError: blocked", Fault.MESSAGE_PERMANENT, Reply(550, "5.7.1 Blocked"))
NO_USER = Outcome("SMTPRecipientsRefused: ada", Fault.MESSAGE_PERMANENT, Reply(550, "5.1.1 No such user"))
SOCKET = "/api/ws/events"
EVENT: TypeAdapter[Any] = TypeAdapter(EventOut)


def send(count: int = 1, *, caller_id: str = "", to: tuple[str, ...] = (ADA,)) -> list[UUID]:
    """Accept mails. Gives their ids."""
    order = message_order(address=ADA, text="Hi")
    order = replace(order, draft=replace(order.draft, to=to), caller_id=caller_id)
    mails = [prepare(order, now=timezone.now()) for _ in range(count)]
    database.call(accept_batch, mails)
    return [mail.email.id for mail in mails]


def attempted(outcome: Outcome) -> None:
    """Accept a mail, and try to send it."""
    send(to=(ADA, *outcome.refusals))
    (email,) = claim_emails(ENGINE, limit=1, now=NOW)
    record_outcomes([Attempt(email, outcome, NOW)])


def everything_happens(owner: Principal) -> None:
    """Mails that come to every status there is, and a few in more than one way."""
    for outcome in (TAKEN, TAKEN_BUT, LATER, BLOCKED, NO_USER):
        attempted(outcome)
    later = prepare(replace(message_order(address=ADA, text="Hi"), scheduled_at=NOW + timedelta(days=1)), now=NOW)
    accept_batch([later])
    cancel_email(later.email.id, caller=owner, now=NOW)
    suppress_all([Entry("eve@example.com", "asked for no more")], now=NOW)
    send(to=("eve@example.com",))
    claim_emails(ENGINE, limit=1, now=NOW)


# What is told


@pytest.fixture
def told(lent: None, owner: User) -> list[str]:
    """The texts of events of every type."""
    everything_happens(of_session(owner))
    return [Told(event).json for event in events_after(0, limit=100)]


def test_whatever_is_told_is_one_of_the_types_that_the_document_has(told: list[str]) -> None:
    events = [EVENT.validate_json(text) for text in told]

    assert {event.type for event in events} == set(TYPES)
    assert all(json.loads(text)["data"].keys() <= EventData.model_fields.keys() for text in told)


def test_pages_and_sockets_tell_the_same(client: TestClient, owner: User, token: GetToken, told: list[str]) -> None:
    page = client.get("/api/events", params={"limit": 100}, headers=bearer(token(owner))).json()

    assert page == {"data": [json.loads(text) for text in told], "next": None}


def test_the_union_is_tagged_by_type_in_openapi() -> None:
    item = app.openapi()["components"]["schemas"]["EventPage"]["properties"]["data"]["items"]

    assert item["discriminator"]["propertyName"] == "type"
    assert set(item["discriminator"]["mapping"]) == set(TYPES)


# Pages


def test_pages_follow_one_another(client: TestClient, owner: User, token: GetToken) -> None:
    headers, after, ids = bearer(token(owner)), None, []
    send(5)

    while True:
        page = client.get("/api/events", params={"limit": 2, "after": after or 0}, headers=headers).json()
        ids += [event["id"] for event in page["data"]]
        after = page["next"]
        if after is None:
            break

    assert ids == list(Event.objects.order_by("id").values_list("id", flat=True))
    assert len(ids) == 5


def test_pages_hold_what_is_asked_for(client: TestClient, owner: User, token: GetToken, told: list[str]) -> None:
    headers, email_id = bearer(token(owner)), json.loads(told[0])["data"]["email_id"]

    failed = client.get("/api/events", params={"types": "email.failed,email.bounced"}, headers=headers).json()["data"]
    of_one = client.get("/api/events", params={"email_id": email_id}, headers=headers).json()["data"]

    assert [event["type"] for event in failed] == ["email.failed", "email.bounced"]
    assert {event["data"]["email_id"] for event in of_one} == {email_id}


def test_each_sees_the_events_of_its_own_mails(client: TestClient) -> None:
    headers = bearer(create_key("shop", scopes=["events:read"]))
    (mine,) = send(caller_id=f"key:{ApiKey.objects.get().pk}")
    send(caller_id="key:0")

    events = client.get("/api/events", headers=headers).json()["data"]

    assert [event["data"]["email_id"] for event in events] == [str(mine)]


@pytest.mark.parametrize("path", ["/api/events", "/api/events/stream"])
def test_events_need_their_scope(client: TestClient, path: str) -> None:
    key = create_key("reader", scopes=["emails:read"])

    assert client.get(path).status_code == 401
    assert client.get(path, headers=bearer(key)).json()["code"] == "missing_scope"


@pytest.mark.parametrize("query", [{"types": "email.lost"}, {"types": ""}, {"after": -1}, {"after": 2**63}, {"email_id": "x"}])
def test_what_there_is_not_cannot_be_asked_for(client: TestClient, query: dict[str, Any]) -> None:
    headers = bearer(create_key("shop", scopes=["events:read"]))

    for path in ("/api/events", "/api/events/stream"):
        assert client.get(path, params=query, headers=headers).status_code == 422


# The socket: credentials are what may change, so these commit

committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def live() -> Iterator[TestClient]:
    """The application with its tail, and without the engine, which would add events of its own."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with app.state.tail.running():
            yield
        database.close()

    with_tail = Starlette(lifespan=lifespan)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (with_tail if scope["type"] == "lifespan" else application)(scope, receive, send)

    with TestClient(either) as client:
        yield client


@pytest.fixture
def key(db: None) -> str:
    """A program's, that may read events."""
    return create_key("shop", scopes=["events:read"])


def whose() -> str:
    """The `caller_id` of that key."""
    return f"key:{ApiKey.objects.get().pk}"


def closed(socket: WebSocketTestSession) -> int:
    """The code with which the socket is closed, after whatever comes before: sooner than it would be by asking now and then."""
    began = time.monotonic()
    while True:
        try:
            socket.receive_json()
        except WebSocketDisconnect as end:
            assert time.monotonic() - began < ASK_EVERY / 2
            return end.code


@committed
def test_a_socket_hears_of_what_happens(live: TestClient, key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(key)) as socket:
        ready = Ready.model_validate(socket.receive_json())
        ids = send(3, caller_id=whose())
        send(caller_id="key:0")
        ids += send(caller_id=whose())

        events = [EVENT.validate_python(socket.receive_json()) for _ in ids]

    assert [event.data.email_id for event in events] == ids
    assert [event.id > ready.cursor for event in events] == [True] * 4
    assert [event.id for event in events] == sorted(event.id for event in events)


@committed
def test_a_socket_begins_after_the_event_that_was_seen_last(live: TestClient, key: str) -> None:
    ids = send(3, caller_id=whose())
    first = events_after(0, limit=1)[0].pk

    with live.websocket_connect(f"{SOCKET}?after={first}", headers=bearer(key)) as socket:
        ready = socket.receive_json()
        events = [socket.receive_json() for _ in ids[1:]]

    assert ready == {"type": "ready", "cursor": first}
    assert [event["data"]["email_id"] for event in events] == [str(email_id) for email_id in ids[1:]]


@committed
def test_a_socket_hears_what_it_asked_for_last(live: TestClient, key: str) -> None:
    email_id, other = send(2, caller_id=whose())
    with live.websocket_connect(f"{SOCKET}?types=email.sent", headers=bearer(key)) as socket:
        socket.receive_json()
        socket.send_json({"action": "subscribe", "types": ["email.canceled"], "email_id": str(email_id)})
        socket.send_json({"action": "ping"})
        assert socket.receive_json() == Pong().model_dump()

        for each in (other, email_id):
            database.call(cancel_email, each, caller=Principal("key", "shop", frozenset(), whose()), now=NOW)

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
def test_what_is_not_understood_is_said_and_the_socket_stays_open(live: TestClient, key: str, text: str, complaint: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(key)) as socket:
        socket.receive_json()
        socket.send_text(text)

        assert complaint in Problem.model_validate(socket.receive_json()).detail
        socket.send_json({"action": "ping"})
        assert socket.receive_json() == {"type": "pong"}


@committed
def test_bytes_are_not_understood_either(live: TestClient, key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(key)) as socket:
        socket.receive_json()
        socket.send_bytes(b'{"action": "ping"}')

        assert socket.receive_json()["type"] == "error"


def test_what_a_client_may_say_is_tagged_by_action() -> None:
    schema = TypeAdapter(Said).json_schema()

    assert set(schema["discriminator"]["mapping"]) == {"authenticate", "subscribe", "ping"}


# Who it is


@committed
def test_the_first_word_may_be_who_it_is(live: TestClient, key: str) -> None:
    with live.websocket_connect(SOCKET) as socket:
        socket.send_json({"action": "ping"})
        assert socket.receive_json()["type"] == "error"
        socket.send_json({"action": "authenticate", "token": key})

        assert socket.receive_json()["type"] == "ready"


@committed
@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic b3duZXI6eA==", "Bearer mr_x"])
def test_a_bad_credential_is_refused(live: TestClient, header: str) -> None:
    with live.websocket_connect(SOCKET, headers={"Authorization": header}) as socket:
        assert closed(socket) == 4401


@committed
def test_a_bad_first_word_is_refused(live: TestClient) -> None:
    with live.websocket_connect(SOCKET) as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})

        assert closed(socket) == 4401


@committed
def test_who_does_not_say_who_it_is_is_refused(live: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "PATIENCE", 0.05)

    with live.websocket_connect(SOCKET) as socket:
        assert closed(socket) == 4401


@committed
def test_a_socket_needs_the_scope(live: TestClient) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(create_key("reader", scopes=["emails:read"]))) as socket:
        assert closed(socket) == 4403


@pytest.mark.pitfall(18)
def test_a_foreign_page_is_refused_before_the_socket_opens(client: TestClient, owner: User, sign_in: SignIn) -> None:
    sign_in(owner)

    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers={"Origin": "http://evil.example"}):
        pass


# Who it is no longer


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_when_its_key_is_revoked(live: TestClient, key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(key)) as socket:
        socket.receive_json()
        database.call(revoke_key, ApiKey.objects.get().public, now=timezone.now())

        assert closed(socket) == 4401


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_when_its_key_expires(live: TestClient) -> None:
    key = create_key("brief", scopes=["events:read"], expires_at=timezone.now() + timedelta(seconds=0.5))

    with live.websocket_connect(SOCKET, headers=bearer(key)) as socket:
        assert closed(socket) == 4401


@pytest.fixture
def browser(teammate: User) -> Browser:
    """A teammate's, who is signed in to the admin and may see mail."""
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    browser = Browser()
    browser.force_login(teammate)
    return browser


@pytest.fixture
def page(live: TestClient, browser: Browser) -> Iterator[WebSocketTestSession]:
    """The socket of a page there."""
    headers = {"Cookie": f"sessionid={browser.cookies['sessionid'].value}", "Origin": "http://testserver"}
    with live.websocket_connect(SOCKET, headers=headers) as socket:
        assert socket.receive_json()["type"] == "ready"
        yield socket


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_with_the_logout(page: WebSocketTestSession, browser: Browser) -> None:
    browser.post("/admin/logout/")

    assert closed(page) == 4401


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_when_its_person_may_do_it_no_more(page: WebSocketTestSession, teammate: User) -> None:
    teammate.user_permissions.clear()

    assert closed(page) == 4403


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_when_its_person_may_see_less(page: WebSocketTestSession, teammate: User) -> None:
    teammate.is_staff = False
    teammate.save()

    assert closed(page) == 4401


@committed
@pytest.mark.pitfall(19)
def test_a_socket_closes_when_its_person_is_deleted(page: WebSocketTestSession, teammate: User) -> None:
    teammate.delete()

    assert closed(page) in (4401, 4403)  # who is just being asked about may be found without permissions
