"""Announcements of credential changes that this process or another process made."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, update_last_login
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.models import CredentialsVersion, User
from project.api_keys.cache import authenticate_api_key_cached
from project.api_keys.keys import create_key, revoke_key, rotate_key
from project.api_keys.models import ApiKey
from project.auth import credential_changes
from project.auth.credential_changes import credentials_changed, poll_credential_changes
from project.auth.principal import NotAuthenticated
from project.bridge.database.transactions import run_in_transaction
from tests.processes import WAIT_TIMEOUT_SECONDS

Announcements = list[None]
Change = Callable[[User], object]


@pytest.fixture
def announcements() -> Iterator[Announcements]:
    """Return a list that gets one entry for each announcement."""
    announcements: Announcements = []
    with credentials_changed.subscribed(lambda: announcements.append(None)):
        yield announcements


def current_version() -> int:
    """Return the version that other processes poll."""
    return CredentialsVersion.objects.get().version


def _change_password(user: User) -> None:
    user.set_password("another")
    user.save()


CHANGES: dict[str, Change] = {
    "key created": lambda _user: create_key("shop", scopes=[]),
    "password changed": _change_password,
    "user deleted": lambda user: user.delete(),
    "user added to a group": lambda user: user.groups.add(Group.objects.create(name="staff")),
    "permission granted to a user": lambda user: user.user_permissions.add(Permission.objects.all()[0]),
    "permission granted to a group": lambda _user: Group.objects.create(name="staff").permissions.add(
        Permission.objects.all()[0]
    ),
    "two-factor login enabled": lambda user: TOTPDevice.objects.create(user=user, name="app"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_announces_a_change_after_its_commit(
    name: str, teammate: User, announcements: Announcements, django_capture_on_commit_callbacks: Any
) -> None:
    before = current_version()

    with django_capture_on_commit_callbacks(execute=True):
        CHANGES[name](teammate)
        assert announcements == []

    assert announcements != []
    assert current_version() > before


@pytest.mark.django_db
@pytest.mark.parametrize("change", [partial(rotate_key, overlap=timedelta()), revoke_key], ids=["rotated", "revoked"])
def test_announces_a_change_of_an_existing_key(
    change: Callable[..., object], announcements: Announcements, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        create_key("shop", scopes=[])
    prefix = ApiKey.objects.get().prefix
    announcements.clear()
    before = current_version()

    with django_capture_on_commit_callbacks(execute=True):
        change(prefix, now=timezone.now())
        assert announcements == []

    assert announcements != []
    assert current_version() > before


def test_announces_the_end_of_a_session(
    teammate: User, announcements: Announcements, django_capture_on_commit_callbacks: Any
) -> None:
    session, before = SessionStore(), current_version()
    session.save()

    with django_capture_on_commit_callbacks(execute=True):
        session.flush()

    assert announcements != []
    assert current_version() > before


def test_does_not_announce_a_login(teammate: User, announcements: Announcements, django_capture_on_commit_callbacks: Any) -> None:
    before = current_version()

    with django_capture_on_commit_callbacks(execute=True):
        update_last_login(User, teammate)

    assert teammate.last_login is not None
    assert (announcements, current_version()) == ([], before)


# Other processes


@pytest.fixture
async def announced(shared_test_connection: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Poll often for changes by other processes. Wait for one announcement, and return an event that each announcement sets."""
    monkeypatch.setattr(credential_changes, "POLL_INTERVAL_SECONDS", 0.01)
    event = asyncio.Event()
    with credentials_changed.subscribed(event.set):
        async with poll_credential_changes():
            await _wait(event)
            yield event


async def _wait(event: asyncio.Event) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        await event.wait()
    event.clear()


async def _revoke_in_another_process() -> None:
    """Revoke all keys without sending a signal in this process."""
    await run_in_transaction(
        lambda: (ApiKey.objects.update(revoked_at=timezone.now()), CredentialsVersion.objects.update(version=1000))
    )


@pytest.mark.anyio
@pytest.mark.pitfall(19)
async def test_a_change_in_another_process_is_announced_and_clears_the_key_cache(announced: asyncio.Event) -> None:
    key = await run_in_transaction(create_key, "shop", scopes=[])
    await _wait(announced)
    await authenticate_api_key_cached(key)

    await _revoke_in_another_process()
    await _wait(announced)

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


@pytest.mark.anyio
async def test_keeps_polling_after_a_database_error(
    announced: asyncio.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop, failed = asyncio.get_running_loop(), asyncio.Event()
    await run_in_transaction(create_key, "shop", scopes=[])
    await _wait(announced)

    def fail() -> int:
        loop.call_soon_threadsafe(failed.set)
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(credential_changes, "_current_version", fail)
        await _wait(failed)
    await _revoke_in_another_process()

    await _wait(announced)
    assert "Polling for changed credentials failed" in caplog.text
