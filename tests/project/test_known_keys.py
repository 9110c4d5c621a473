"""What is remembered of API keys, and for how long."""

from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from django.utils import timezone

from project.accounts import known_keys
from project.accounts.keys import create_key, principal_of_key, revoke_key, rotate_key
from project.accounts.known_keys import principal_of_known_key
from project.accounts.models import ApiKey
from project.accounts.principal import NotAuthenticated, Principal
from project.bridge import database

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]


async def _key() -> str:
    return await database.run(create_key, "shop", scopes=["emails:send"])


async def _change_behind_our_back() -> None:
    """As another process does: no signal comes."""
    await database.run(lambda: ApiKey.objects.update(revoked_at=timezone.now()))


async def test_a_key_that_was_just_used_is_known() -> None:
    key = await _key()
    first = await principal_of_known_key(key)
    await _change_behind_our_back()

    again = await principal_of_known_key(key)

    assert again == first
    assert again.scopes == {"emails:send"}


async def test_what_is_known_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _key()
    monkeypatch.setattr(known_keys, "LIVES", 0.0)
    await principal_of_known_key(key)
    await _change_behind_our_back()

    with pytest.raises(NotAuthenticated):
        await principal_of_known_key(key)


async def test_a_key_that_is_revoked_here_is_refused_at_once() -> None:
    key = await _key()
    await principal_of_known_key(key)

    await database.run(revoke_key, key[3:11], now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await principal_of_known_key(key)


async def test_what_was_asked_before_all_was_forgotten_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _key()

    def found_and_then_revoked(text: str, *, now: datetime) -> Principal:
        principal = principal_of_key(text, now=now)
        ApiKey.objects.update(revoked_at=now)
        known_keys.forget()
        return principal

    with monkeypatch.context() as patch:
        patch.setattr(known_keys, "principal_of_key", found_and_then_revoked)
        await principal_of_known_key(key)

    with pytest.raises(NotAuthenticated):
        await principal_of_known_key(key)


async def test_a_known_key_is_refused_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    end = timezone.now() + timedelta(hours=1)
    key = await database.run(create_key, "shop", scopes=["emails:send"], expires_at=end)
    assert (await principal_of_known_key(key)).good_until == end

    monkeypatch.setattr(timezone, "now", lambda: end)

    with pytest.raises(NotAuthenticated, match="expired"):
        await principal_of_known_key(key)


async def test_an_old_secret_is_refused_once_its_overlap_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = await _key(), timezone.now()
    await database.run(rotate_key, key[:11], overlap=timedelta(hours=1), now=now)
    await principal_of_known_key(key)

    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=1))

    with pytest.raises(NotAuthenticated, match="replaced"):
        await principal_of_known_key(key)


async def test_a_secret_that_is_replaced_without_overlap_is_refused_at_once() -> None:
    key = await _key()
    await principal_of_known_key(key)

    await database.run(rotate_key, key[:11], overlap=timedelta(), now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await principal_of_known_key(key)


def test_what_was_asked_before_the_commit_is_forgotten_with_it(django_capture_on_commit_callbacks: Any) -> None:
    key = create_key("shop", scopes=["emails:send"])

    with django_capture_on_commit_callbacks(execute=True):
        revoke_key(key[3:11], now=timezone.now())
        known_keys._known[b""] = Principal("key", "shop", frozenset()), inf  # by another connection, for which it is still good

    assert known_keys._known == {}


async def test_a_bad_key_is_not_remembered() -> None:
    key = await _key()
    bad = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"

    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await principal_of_known_key(bad)


async def test_no_more_keys_are_known_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST", 2)

    for _ in range(5):
        await principal_of_known_key(await _key())

    assert len(known_keys._known) <= 2
