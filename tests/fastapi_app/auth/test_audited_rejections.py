"""Audit trail of rejected credentials: it contains no secrets, and repeated rejections are recorded once a minute."""

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

CLIENT_IP = "198.51.100.7"


@pytest.fixture(autouse=True)
def _new_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start with an empty deduplication window."""
    monkeypatch.setattr(app.state.audit_writer, "_recent", RecentEvents())


def client_from(ip_address: str = CLIENT_IP) -> TestClient:
    """Return a client that connects from this IP address."""
    return TestClient(application, client=(ip_address, 1))


def request_with_rejected_token(token: str, ip_address: str = CLIENT_IP) -> None:
    """Send a request with an invalid credential, and check that it is rejected."""
    assert client_from(ip_address).get("/api/me", headers=bearer(token)).status_code == 401


def rejections() -> list[tuple[str, str, str | None]]:
    """Return (reason, actor, ip_address) of each rejection, oldest first."""
    return list(
        AuditEvent.objects.filter(action=AuditAction.REJECTED).order_by("pk").values_list("reason", "actor", "ip_address")
    )


@pytest.fixture
def key(shared_test_connection: None) -> str:
    """Create an API key named "shop", and return the key."""
    return create_key("shop", scopes=["emails:send"])


def test_records_an_unknown_key(shared_test_connection: None) -> None:
    request_with_rejected_token("mr_nonsense")

    assert rejections() == [("bad key", "", CLIENT_IP)]


def test_records_a_wrong_secret_with_the_name_of_the_key(key: str) -> None:
    other = create_key("other", scopes=["emails:send"])
    ApiKey.objects.filter(name="other").delete()
    ApiKey.objects.filter(name="shop").update(prefix=other[3:11])

    request_with_rejected_token(other)

    assert rejections() == [("bad key", f"shop ({other[:11]}…)", CLIENT_IP)]


def test_records_an_expired_key(key: str) -> None:
    ApiKey.objects.update(expires_at=timezone.now())

    request_with_rejected_token(key)

    assert rejections() == [("expired key", f"shop ({key[:11]}…)", CLIENT_IP)]


def test_records_a_revoked_key(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())

    request_with_rejected_token(key)

    assert rejections() == [("revoked key", f"shop ({key[:11]}…)", CLIENT_IP)]


def test_records_a_bad_token(shared_test_connection: None) -> None:
    request_with_rejected_token("nonsense")

    assert rejections() == [("bad token", "", CLIENT_IP)]


def test_records_an_expired_token(owner: User, client: TestClient, token: GetToken, monkeypatch: pytest.MonkeyPatch) -> None:
    access_token = token(owner)
    later = time.time() + LIFETIME_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)

    request_with_rejected_token(access_token)

    assert rejections() == [("expired token", "", CLIENT_IP)]


def test_records_a_revoked_token_with_the_username(owner: User, client: TestClient, token: GetToken) -> None:
    access_token = token(owner)
    User.objects.update(is_active=False)

    request_with_rejected_token(access_token)

    assert rejections() == [("revoked token", "owner", CLIENT_IP)]


def test_records_a_bad_token_on_a_websocket(shared_test_connection: None) -> None:
    with client_from().websocket_connect("/api/ws/events") as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()

    assert rejections() == [("bad token", "", CLIENT_IP)]


@pytest.mark.parametrize("header", ["Basic b3duZXI6aHVudGVyMg==", "nonsense", ""])
def test_records_a_bad_scheme_once_and_without_the_header(header: str, shared_test_connection: None) -> None:
    for _ in range(3):
        assert client_from().get("/api/me", headers={"Authorization": header}).status_code == 401

    assert rejections() == [("bad scheme", "", CLIENT_IP)]


def test_records_a_bad_scheme_on_a_websocket(shared_test_connection: None) -> None:
    connected = client_from().websocket_connect("/api/ws/events", headers={"Authorization": "Basic b3duZXI="})

    with connected as socket, pytest.raises(WebSocketDisconnect):
        socket.receive_json()

    assert rejections() == [("bad scheme", "", CLIENT_IP)]


def test_the_audit_trail_contains_no_secret(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())
    request_with_rejected_token(key)
    request_with_rejected_token(f"{key}x")
    request_with_rejected_token("hunter2")

    stored = str(list(AuditEvent.objects.values_list()))
    assert key[11:20] not in stored
    assert "hunter2" not in stored


def test_does_not_record_a_request_without_a_credential(shared_test_connection: None) -> None:
    client_from().get("/api/me")

    assert rejections() == []


def test_records_repeated_rejections_once_a_minute(shared_test_connection: None) -> None:
    for number in range(5):
        request_with_rejected_token(f"nonsense{number}")
        request_with_rejected_token(f"nonsense{number}", "203.0.113.5")

    assert rejections() == [("bad token", "", CLIENT_IP), ("bad token", "", "203.0.113.5")]


def test_records_a_key_once_whatever_the_ip_address(key: str) -> None:
    revoke_key(key[3:11], now=timezone.now())

    request_with_rejected_token(key)
    request_with_rejected_token(key, "203.0.113.5")

    assert len(rejections()) == 1


def test_records_a_rejection_again_after_a_minute(shared_test_connection: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "WINDOW_SECONDS", 0.0)

    request_with_rejected_token("nonsense")
    request_with_rejected_token("nonsense")

    assert len(rejections()) == 2


def test_records_an_ipv6_network_once(shared_test_connection: None) -> None:
    request_with_rejected_token("nonsense", "2001:db8::1")
    request_with_rejected_token("nonsense", "2001:db8::2")

    assert rejections() == [("bad token", "", "2001:db8::1")]


def test_records_too_many_ip_addresses_as_one_row(shared_test_connection: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MAX_TRACKED", 2)

    for number in range(5):
        request_with_rejected_token("nonsense", f"203.0.113.{number}")

    assert [actor for _reason, actor, _ip_address in rejections()] == ["", "", MANY_ADDRESSES]


def test_records_a_known_key_separately_during_a_flood(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MAX_TRACKED", 0)
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(days=1))

    request_with_rejected_token("nonsense")
    request_with_rejected_token(key)

    assert [actor for _reason, actor, _ip_address in rejections()] == [MANY_ADDRESSES, f"shop ({key[:11]}…)"]
