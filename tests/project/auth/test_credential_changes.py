"""What tells open sockets to ask again: changes here, and those of other processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, update_last_login
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.models import CredentialsVersion, User
from project.api_keys.cache import authenticate_api_key_cached
from project.api_keys.keys import create_key, rotate_key
from project.api_keys.models import ApiKey
from project.auth import credential_changes
from project.auth.credential_changes import credentials_changed, polling_other_processes
from project.auth.principal import NotAuthenticated
from project.bridge.database.transactions import run_in_transaction
from tests.processes import PATIENCE

Told = list[None]
Change = Callable[[User], object]


@pytest.fixture
def told() -> Iterator[Told]:
    """An entry for each time that listeners were told."""
    times: Told = []
    with credentials_changed.subscribed(lambda: times.append(None)):
        yield times


def number() -> int:
    """What other processes look at."""
    return CredentialsVersion.objects.get().version


def _change_password(user: User) -> None:
    user.set_password("another")
    user.save()


def _rotate(_user: User) -> None:
    rotate_key(create_key("shop", scopes=[])[:11], overlap=timedelta(), now=timezone.now())


CHANGES: dict[str, Change] = {
    "a key is made": lambda _user: create_key("shop", scopes=[]),
    "a password is changed": _change_password,
    "a person is deleted": lambda user: user.delete(),
    "a person joins a group": lambda user: user.groups.add(Group.objects.create(name="staff")),
    "a person may do more": lambda user: user.user_permissions.add(Permission.objects.all()[0]),
    "a group may do more": lambda _user: Group.objects.create(name="staff").permissions.add(Permission.objects.all()[0]),
    "two-factor login is set up": lambda user: TOTPDevice.objects.create(user=user, name="app"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_here_and_to_others_once_it_is_committed(
    name: str, teammate: User, told: Told, django_capture_on_commit_callbacks: Any
) -> None:
    before = number()

    with django_capture_on_commit_callbacks(execute=True):
        CHANGES[name](teammate)
        assert told == []

    assert told != []
    assert number() > before


def test_the_end_of_a_session_is_told(teammate: User, told: Told, django_capture_on_commit_callbacks: Any) -> None:
    session, before = SessionStore(), number()
    session.save()

    with django_capture_on_commit_callbacks(execute=True):
        session.flush()

    assert told != []
    assert number() > before


def test_a_login_changes_nobody(teammate: User, told: Told, django_capture_on_commit_callbacks: Any) -> None:
    before = number()

    with django_capture_on_commit_callbacks(execute=True):
        update_last_login(User, teammate)

    assert teammate.last_login is not None
    assert (told, number()) == ([], before)


# Of other processes


@pytest.fixture
async def heard(lent: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Set when listeners are told while `watching`, which looks often. Once they were, as they are at first, it is cleared."""
    monkeypatch.setattr(credential_changes, "POLL_INTERVAL_SECONDS", 0.01)
    event = asyncio.Event()
    with credentials_changed.subscribed(event.set):
        async with polling_other_processes():
            await _told(event)
            yield event


async def _told(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()
    event.clear()


async def _revoke_elsewhere() -> None:
    """As another process does: no signal comes."""
    await run_in_transaction(
        lambda: (ApiKey.objects.update(revoked_at=timezone.now()), CredentialsVersion.objects.update(version=1000))
    )


@pytest.mark.anyio
@pytest.mark.pitfall(19)
async def test_what_changes_elsewhere_is_told_and_what_was_known_of_keys_is_forgotten(heard: asyncio.Event) -> None:
    key = await run_in_transaction(create_key, "shop", scopes=[])
    await _told(heard)
    await authenticate_api_key_cached(key)

    await _revoke_elsewhere()
    await _told(heard)

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


@pytest.mark.anyio
async def test_it_looks_again_when_the_database_is_back(
    heard: asyncio.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop, failed = asyncio.get_running_loop(), asyncio.Event()
    await run_in_transaction(create_key, "shop", scopes=[])
    await _told(heard)

    def fail() -> int:
        loop.call_soon_threadsafe(failed.set)
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(credential_changes, "_current_version", fail)
        await _told(failed)
    await _revoke_elsewhere()

    await _told(heard)
    assert "Polling for changed credentials failed" in caplog.text
