"""Changes of templates and suppressions by API are in the audit trail, with the caller of each kind of credential."""

import pytest
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.audit.models import AuditAction, AuditEvent
from project.auth.scopes import SCOPES
from tests.fastapi_app.conftest import GetToken, LogIn, bearer

CLIENT_IP = "198.51.100.7"
ADDRESS = "/api/suppressions/ada@example.com"
CHANGES = {
    AuditAction.TEMPLATE_SAVED: "welcome (version 1)",
    AuditAction.TEMPLATE_DELETED: "welcome",
    AuditAction.SUPPRESSION_ADDED: "ada@example.com",
    AuditAction.SUPPRESSION_REMOVED: "ada@example.com",
}


@pytest.fixture
def visitor(client: TestClient) -> TestClient:
    """Return a client of the application with a known IP address."""
    return TestClient(client.app, client=(CLIENT_IP, 4711))


def change_everything(client: TestClient, headers: dict[str, str]) -> list[int]:
    """Create and delete a template and a suppression. Return the statuses."""
    return [
        client.put("/api/templates/welcome", json={"subject": "Hi", "text": "Hi"}, headers=headers).status_code,
        client.delete("/api/templates/welcome", headers=headers).status_code,
        client.put(ADDRESS, json={"reason": "asked"}, headers=headers).status_code,
        client.delete(ADDRESS, headers=headers).status_code,
    ]


def trail() -> list[tuple[str, str, str, str, str | None]]:
    """Return (action, object, actor, actor_kind, ip_address) of each entry about a change, oldest first."""
    events = AuditEvent.objects.filter(action__in=CHANGES).order_by("pk")
    return list(events.values_list("action", "object", "actor", "actor_kind", "ip_address"))


def test_records_changes_by_a_key(visitor: TestClient) -> None:
    key = create_key("shop", scopes=SCOPES)

    assert change_everything(visitor, bearer(key)) == [200, 204, 200, 204]

    assert trail() == [(action, what, f"shop ({key[:11]}…)", "key", CLIENT_IP) for action, what in CHANGES.items()]


def test_records_changes_by_a_token(visitor: TestClient, owner: User, token: GetToken) -> None:
    assert change_everything(visitor, bearer(token(owner))) == [200, 204, 200, 204]

    assert trail() == [(action, what, "owner", "token", CLIENT_IP) for action, what in CHANGES.items()]


def test_records_changes_by_a_session(visitor: TestClient, client: TestClient, owner: User, log_in: LogIn) -> None:
    log_in(owner)
    cookies = {"sessionid": client.cookies["sessionid"], "csrftoken": "x" * 32}
    headers = {"X-CSRFToken": "x" * 32, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}

    assert change_everything(visitor, headers) == [200, 204, 200, 204]

    assert trail() == [(action, what, "owner", "session", CLIENT_IP) for action, what in CHANGES.items()]


def test_records_no_change_that_fails(visitor: TestClient, headers: dict[str, str]) -> None:
    statuses = [
        visitor.delete("/api/templates/unknown", headers=headers).status_code,
        visitor.put("/api/templates/welcome", json={"subject": "{% if %}", "text": "Hi"}, headers=headers).status_code,
        visitor.delete(ADDRESS, headers=headers).status_code,
        visitor.put("/api/suppressions/nonsense", json={}, headers=headers).status_code,
    ]

    assert statuses == [404, 422, 404, 422]
    assert trail() == []
