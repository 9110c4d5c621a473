"""The owner of an API key: the key stops working when this user is deactivated or deleted."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import KeyNotActive, create_key, rotate_key
from project.api_keys.models import ApiKey, KeyState
from project.audit.models import AuditEvent
from project.auth.scopes import SCOPES
from tests.fastapi_app.conftest import bearer


@pytest.fixture
def key(teammate: User) -> str:
    """Return an API key of the teammate."""
    return create_key("shop", scopes=SCOPES, owner=teammate)


def set_active(user: User, is_active: bool) -> None:
    """Deactivate or activate the user in the same way as the admin site does."""
    user.is_active = is_active
    user.save()


def status(client: TestClient, key: str) -> int:
    """Return the status of a call with the key."""
    return client.get("/api/me", headers=bearer(key)).status_code


def test_the_key_stops_at_once_when_the_owner_is_deactivated(client: TestClient, key: str, teammate: User) -> None:
    assert status(client, key) == 200  # the key is in the cache now

    set_active(teammate, False)

    response = client.get("/api/me", headers=bearer(key))
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert "was deactivated" in response.json()["detail"]


def test_the_rejection_is_audited(client: TestClient, key: str, teammate: User) -> None:
    set_active(teammate, False)
    status(client, key)

    event = AuditEvent.objects.get(action="rejected")
    assert (event.reason, event.actor) == ("owner deactivated", f"shop ({key[:11]}…)")


def test_the_key_works_again_when_the_owner_is_activated(client: TestClient, key: str, teammate: User) -> None:
    set_active(teammate, False)
    assert status(client, key) == 401

    set_active(teammate, True)

    assert status(client, key) == 200


def test_a_key_of_a_deleted_owner_is_revoked(client: TestClient, key: str, teammate: User) -> None:
    teammate.delete()

    assert status(client, key) == 401
    assert ApiKey.objects.get().state(timezone.now()) is KeyState.REVOKED


def test_a_key_without_an_owner_works(client: TestClient, db: None) -> None:
    assert status(client, create_key("shop", scopes=SCOPES)) == 200


def test_the_key_of_a_deactivated_owner_cannot_be_rotated(key: str, teammate: User) -> None:
    set_active(teammate, False)

    with pytest.raises(KeyNotActive):
        rotate_key(key[:11], overlap=timedelta(hours=1), now=timezone.now())


def test_a_key_created_in_the_admin_belongs_to_the_user(browser: Client, owner: User) -> None:
    browser.post("/admin/api_keys/apikey/add/", {"name": "shop", "scopes": ["emails:send"], "allowed_senders": ""})

    key = ApiKey.objects.get()
    assert key.owner == owner
    assert "field-owner" in browser.get(f"/admin/api_keys/apikey/{key.pk}/change/").content.decode()


def test_the_list_shows_keys_of_deactivated_owners(browser: Client, key: str, teammate: User) -> None:
    set_active(teammate, False)

    page = browser.get("/admin/api_keys/apikey/").content.decode()

    assert '<span class="status key-owner-deactivated">owner deactivated</span>' in page


def test_the_command_sets_the_owner(teammate: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_api_key", "shop", "--scope", "emails:send", "--owner", "teammate")

    assert ApiKey.objects.get().owner == teammate


def test_the_command_rejects_an_unknown_or_deactivated_owner(teammate: User) -> None:
    set_active(teammate, False)

    for name in ("teammate", "unknown"):
        with pytest.raises(CommandError, match="no active user"):
            call_command("create_api_key", "shop", "--scope", "emails:send", "--owner", name)
