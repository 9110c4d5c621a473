"""The socket of events: who it is, and who it is no longer."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.utils import timezone
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from fastapi_app.events import websocket as conversation
from fastapi_app.events.reauthorization import RECHECK_INTERVAL_SECONDS
from project.accounts.models import User
from project.api_keys.keys import create_key, revoke_key
from project.api_keys.models import ApiKey
from project.bridge.database.transactions import call_in_transaction
from tests.fastapi_app.conftest import SignIn, bearer
from tests.fastapi_app.events.event_helpers import SOCKET, committed


def closed(socket: WebSocketTestSession) -> int:
    """The code with which the socket is closed, after whatever comes before: sooner than it would be by asking now and then."""
    began = time.monotonic()
    while True:
        try:
            socket.receive_json()
        except WebSocketDisconnect as end:
            assert time.monotonic() - began < RECHECK_INTERVAL_SECONDS / 2
            return end.code


# Who it is


@committed
def test_the_first_word_may_be_who_it_is(live: TestClient, events_key: str) -> None:
    with live.websocket_connect(SOCKET) as socket:
        socket.send_json({"action": "ping"})
        assert socket.receive_json()["type"] == "error"
        socket.send_json({"action": "authenticate", "token": events_key})

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
    monkeypatch.setattr(conversation, "AUTH_TIMEOUT_SECONDS", 0.05)

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
def test_a_socket_closes_when_its_key_is_revoked(live: TestClient, events_key: str) -> None:
    with live.websocket_connect(SOCKET, headers=bearer(events_key)) as socket:
        socket.receive_json()
        call_in_transaction(revoke_key, ApiKey.objects.get().prefix, now=timezone.now())

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
