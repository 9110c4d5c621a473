"""The WebSocket of events: it authenticates the client, and closes when the credential loses its access."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client as Browser
from django.utils import timezone
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from fastapi_app.events import websocket as event_websocket
from fastapi_app.events.reauthorization import RECHECK_INTERVAL_SECONDS
from project.accounts.models import User
from project.api_keys.keys import create_key, revoke_key
from project.api_keys.models import ApiKey
from project.auth.credential_changes import credentials_changed
from project.bridge.database.transactions import call_in_transaction
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import LogIn, bearer
from tests.fastapi_app.events.event_helpers import SOCKET_URL, committed


def close_code(socket: WebSocketTestSession) -> int:
    """Wait until the WebSocket closes, and return the close code. Fail if this takes more than half a recheck interval."""
    started = time.monotonic()
    while True:
        try:
            socket.receive_json()
        except WebSocketDisconnect as end:
            assert time.monotonic() - started < RECHECK_INTERVAL_SECONDS / 2
            return end.code


# Authentication


@committed
def test_authenticates_with_the_first_message(client_with_event_stream: TestClient, events_key: str) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL) as socket:
        socket.send_json({"action": "ping"})
        assert socket.receive_json()["type"] == "error"
        socket.send_json({"action": "authenticate", "token": events_key})

        assert socket.receive_json()["type"] == "ready"


@committed
@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic b3duZXI6eA==", "Bearer mr_x"])
def test_closes_after_a_bad_credential(client_with_event_stream: TestClient, header: str) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers={"Authorization": header}) as socket:
        assert close_code(socket) == 4401


@committed
def test_closes_after_a_bad_token_in_the_first_message(client_with_event_stream: TestClient) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL) as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})

        assert close_code(socket) == 4401


@committed
def test_closes_if_the_client_does_not_authenticate_in_time(
    client_with_event_stream: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_websocket, "AUTH_TIMEOUT_SECONDS", 0.05)

    with client_with_event_stream.websocket_connect(SOCKET_URL) as socket:
        assert close_code(socket) == 4401


@committed
def test_closes_without_the_scope(client_with_event_stream: TestClient) -> None:
    with client_with_event_stream.websocket_connect(
        SOCKET_URL, headers=bearer(create_key("reader", scopes=["emails:read"]))
    ) as socket:
        assert close_code(socket) == 4403


@pytest.mark.pitfall(18)
def test_rejects_a_foreign_origin_before_accepting(client: TestClient, owner: User, log_in: LogIn) -> None:
    log_in(owner)

    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET_URL, headers={"Origin": "http://evil.example"}):
        pass


# Loss of access


@committed
@pytest.mark.pitfall(19)
def test_closes_when_the_key_is_revoked(client_with_event_stream: TestClient, events_key: str) -> None:
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(events_key)) as socket:
        socket.receive_json()
        call_in_transaction(revoke_key, ApiKey.objects.get().prefix, now=timezone.now())

        assert close_code(socket) == 4401


@committed
@pytest.mark.pitfall(19)
def test_closes_when_the_key_expires(client_with_event_stream: TestClient) -> None:
    key = create_key("brief", scopes=["events:read"], expires_at=timezone.now() + timedelta(seconds=0.5))

    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(key)) as socket:
        assert close_code(socket) == 4401


@pytest.fixture
def browser(teammate: User) -> Browser:
    """Return the browser of a teammate who is logged in to the admin and may view emails."""
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    browser = Browser()
    browser.force_login(teammate)
    return browser


@pytest.fixture
def session_websocket(client_with_event_stream: TestClient, browser: Browser) -> Iterator[WebSocketTestSession]:
    """Open a WebSocket with the session cookie of `browser`."""
    headers = {"Cookie": f"sessionid={browser.cookies['sessionid'].value}", "Origin": "http://testserver"}
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=headers) as socket:
        assert socket.receive_json()["type"] == "ready"
        yield socket


@committed
@pytest.mark.pitfall(19)
def test_closes_on_logout(session_websocket: WebSocketTestSession, browser: Browser) -> None:
    browser.post("/admin/logout/")

    assert close_code(session_websocket) == 4401


@committed
@pytest.mark.pitfall(19)
def test_closes_when_the_user_loses_the_permission(session_websocket: WebSocketTestSession, teammate: User) -> None:
    teammate.user_permissions.clear()

    assert close_code(session_websocket) == 4403


@committed
@pytest.mark.pitfall(19)
def test_closes_when_the_user_is_no_longer_staff(session_websocket: WebSocketTestSession, teammate: User) -> None:
    teammate.is_staff = False
    teammate.save()

    assert close_code(session_websocket) == 4401


@committed
@pytest.mark.pitfall(19)
def test_closes_when_the_user_is_deleted(session_websocket: WebSocketTestSession, teammate: User) -> None:
    teammate.delete()

    # The code is 4403 if the check runs after the user's permissions are deleted but before the user is deleted.
    assert close_code(session_websocket) in (4401, 4403)


@committed
def test_closes_when_the_session_ends_without_activity(session_websocket: WebSocketTestSession) -> None:
    Session.objects.update(expire_date=timezone.now() + timedelta(seconds=0.5))
    credentials_changed.send()  # so that the stream learns of the new time at once

    assert close_code(session_websocket) == 4401


@committed
def test_closes_when_the_session_is_logged_out_from_the_list(
    session_websocket: WebSocketTestSession, browser: Browser, teammate: User
) -> None:
    other = Browser()
    other.force_login(teammate)

    other.post("/admin/sessions/", {"others": "yes"})

    assert close_code(session_websocket) == 4401


@committed
def test_closes_the_stream_of_a_token_when_its_user_logs_out(
    client_with_event_stream: TestClient, browser: Browser, teammate: User
) -> None:
    form = {"username": teammate.username, "password": PASSWORD}
    token = client_with_event_stream.post("/api/token", data=form).json()["access_token"]
    with client_with_event_stream.websocket_connect(SOCKET_URL, headers=bearer(token)) as socket:
        socket.receive_json()
        browser.post("/admin/logout/")

        assert close_code(socket) == 4401
