"""Credentials that the API refuses are in the audit trail: each kind once a minute, and no secret."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fastapi_app.main import app
from project.accounts.models import User
from project.api_keys.keys import create_key, revoke_key
from project.api_keys.models import ApiKey
from project.asgi import application
from project.audit import deduplication
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from project.audit.writer import MANY_ADDRESSES
from project.auth.access_tokens import LIFETIME_SECONDS
from tests.fastapi_app.conftest import GetToken, bearer

ADDRESS = "198.51.100.7"


@pytest.fixture(autouse=True)
def _another_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests had refused is forgotten."""
    monkeypatch.setattr(app.state.audit_writer, "_recent", RecentEvents())


def caller(address: str = ADDRESS) -> TestClient:
    """A program at an address."""
    return TestClient(application, client=(address, 1))


def refused(token: str, address: str = ADDRESS) -> None:
    """Come with a credential that is not good."""
    assert caller(address).get("/api/me", headers=bearer(token)).status_code == 401


def trail() -> list[tuple[str, str, str | None]]:
    """The refusals, oldest first."""
    return list(
        AuditEvent.objects.filter(action=AuditAction.REJECTED).order_by("pk").values_list("reason", "actor", "ip_address")
    )


@pytest.fixture
def key(lent: None) -> str:
    """The shop's."""
    return create_key("shop", scopes=["emails:send"])


def test_a_key_that_there_is_not_is_written_down(lent: None) -> None:
    refused("mr_nonsense")

    assert trail() == [("bad key", "", ADDRESS)]


def test_a_keys_wrong_secret_is_written_down_under_its_name(key: str) -> None:
    other = create_key("other", scopes=["emails:send"])
    ApiKey.objects.filter(name="other").delete()
    ApiKey.objects.filter(name="shop").update(prefix=other[3:11])

    refused(other)

    assert trail() == [("bad key", f"shop ({other[:11]}…)", ADDRESS)]


def test_an_expired_key_is_written_down(key: str) -> None:
    ApiKey.objects.update(expires_at=timezone.now())

    refused(key)

    assert trail() == [("expired key", f"shop ({key[:11]}…)", ADDRESS)]


def test_a_revoked_key_is_written_down(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())

    refused(key)

    assert trail() == [("revoked key", f"shop ({key[:11]}…)", ADDRESS)]


def test_a_bad_token_is_written_down(lent: None) -> None:
    refused("nonsense")

    assert trail() == [("bad token", "", ADDRESS)]


def test_an_expired_token_is_written_down(
    owner: User, client: TestClient, token: GetToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token(owner)
    later = time.time() + LIFETIME_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)

    refused(text)

    assert trail() == [("expired token", "", ADDRESS)]


def test_a_token_that_was_ended_is_written_down_under_its_users_name(owner: User, client: TestClient, token: GetToken) -> None:
    text = token(owner)
    User.objects.update(is_active=False)

    refused(text)

    assert trail() == [("ended token", "owner", ADDRESS)]


def test_a_bad_token_on_a_socket_is_written_down(lent: None) -> None:
    with caller().websocket_connect("/api/ws/events") as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()

    assert trail() == [("bad token", "", ADDRESS)]


@pytest.mark.parametrize("header", ["Basic b3duZXI6aHVudGVyMg==", "nonsense", ""])
def test_a_header_of_another_scheme_is_written_down_once_and_without_what_it_says(header: str, lent: None) -> None:
    for _ in range(3):
        assert caller().get("/api/me", headers={"Authorization": header}).status_code == 401

    assert trail() == [("bad scheme", "", ADDRESS)]


def test_a_header_of_another_scheme_on_a_socket_is_written_down(lent: None) -> None:
    connected = caller().websocket_connect("/api/ws/events", headers={"Authorization": "Basic b3duZXI="})

    with connected as socket, pytest.raises(WebSocketDisconnect):
        socket.receive_json()

    assert trail() == [("bad scheme", "", ADDRESS)]


def test_nothing_of_a_secret_is_in_the_trail(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())
    refused(key)
    refused(f"{key}x")
    refused("hunter2")

    told = str(list(AuditEvent.objects.values_list()))
    assert key[11:20] not in told
    assert "hunter2" not in told


def test_who_calls_without_a_credential_is_not_written_down(lent: None) -> None:
    caller().get("/api/me")

    assert trail() == []


def test_the_same_again_is_written_down_once_a_minute(lent: None) -> None:
    for number in range(5):
        refused(f"nonsense{number}")
        refused(f"nonsense{number}", "203.0.113.5")

    assert trail() == [("bad token", "", ADDRESS), ("bad token", "", "203.0.113.5")]


def test_a_key_is_written_down_once_from_whatever_address(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())

    refused(key)
    refused(key, "203.0.113.5")

    assert len(trail()) == 1


def test_it_is_written_down_again_after_a_minute(lent: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "WINDOW_SECONDS", 0.0)

    refused("nonsense")
    refused("nonsense")

    assert len(trail()) == 2


def test_a_site_with_many_addresses_is_written_down_once(lent: None) -> None:
    refused("nonsense", "2001:db8::1")
    refused("nonsense", "2001:db8::2")

    assert trail() == [("bad token", "", "2001:db8::1")]


def test_too_many_addresses_to_tell_apart_are_one_row(lent: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MAX_TRACKED", 2)

    for number in range(5):
        refused("nonsense", f"203.0.113.{number}")

    assert [name for _reason, name, _address in trail()] == ["", "", MANY_ADDRESSES]


def test_a_key_of_ours_is_told_apart_in_whatever_flood(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MAX_TRACKED", 0)
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))

    refused("nonsense")
    refused(key)

    assert [name for _reason, name, _address in trail()] == [MANY_ADDRESSES, f"shop ({key[:11]}…)"]
