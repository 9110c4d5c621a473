"""What is remembered of API keys, and for how long."""

from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from django.utils import timezone

from project.api_keys import cache
from project.api_keys.cache import authenticate_api_key_cached, clear
from project.api_keys.keys import authenticate_api_key, create_key, revoke_key, rotate_key
from project.api_keys.models import ApiKey
from project.auth.principal import NotAuthenticated, Principal
from project.bridge.database.transactions import run_in_transaction

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]


async def _key() -> str:
    return await run_in_transaction(create_key, "shop", scopes=["emails:send"])


async def _change_behind_our_back() -> None:
    """As another process does: no signal comes."""
    await run_in_transaction(lambda: ApiKey.objects.update(revoked_at=timezone.now()))


async def test_a_key_that_was_just_used_is_known() -> None:
    key = await _key()
    first = await authenticate_api_key_cached(key)
    await _change_behind_our_back()

    again = await authenticate_api_key_cached(key)

    assert again == first
    assert again.scopes == {"emails:send"}


async def test_what_is_known_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _key()
    monkeypatch.setattr(cache, "TTL_SECONDS", 0.0)
    await authenticate_api_key_cached(key)
    await _change_behind_our_back()

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_a_key_that_is_revoked_here_is_refused_at_once() -> None:
    key = await _key()
    await authenticate_api_key_cached(key)

    await run_in_transaction(revoke_key, key[3:11], now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_what_was_asked_before_all_was_forgotten_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _key()

    def found_and_then_revoked(text: str, *, now: datetime) -> Principal:
        principal = authenticate_api_key(text, now=now)
        ApiKey.objects.update(revoked_at=now)
        clear()
        return principal

    with monkeypatch.context() as patch:
        patch.setattr(cache, "authenticate_api_key", found_and_then_revoked)
        await authenticate_api_key_cached(key)

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_a_known_key_is_refused_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    end = timezone.now() + timedelta(hours=1)
    key = await run_in_transaction(create_key, "shop", scopes=["emails:send"], expires_at=end)
    assert (await authenticate_api_key_cached(key)).expires_at == end

    monkeypatch.setattr(timezone, "now", lambda: end)

    with pytest.raises(NotAuthenticated, match="expired"):
        await authenticate_api_key_cached(key)


async def test_an_old_secret_is_refused_once_its_overlap_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = await _key(), timezone.now()
    await run_in_transaction(rotate_key, key[:11], overlap=timedelta(hours=1), now=now)
    await authenticate_api_key_cached(key)

    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=1))

    with pytest.raises(NotAuthenticated, match="replaced"):
        await authenticate_api_key_cached(key)


async def test_a_secret_that_is_replaced_without_overlap_is_refused_at_once() -> None:
    key = await _key()
    await authenticate_api_key_cached(key)

    await run_in_transaction(rotate_key, key[:11], overlap=timedelta(), now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


def test_what_was_asked_before_the_commit_is_forgotten_with_it(django_capture_on_commit_callbacks: Any) -> None:
    key = create_key("shop", scopes=["emails:send"])

    with django_capture_on_commit_callbacks(execute=True):
        revoke_key(key[3:11], now=timezone.now())
        cache._entries[b""] = Principal("key", "shop", frozenset()), inf  # by another connection, for which it is still good

    assert cache._entries == {}


async def test_a_bad_key_is_not_remembered() -> None:
    key = await _key()
    bad = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"

    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await authenticate_api_key_cached(bad)


async def test_no_more_keys_are_known_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)

    for _ in range(5):
        await authenticate_api_key_cached(await _key())

    assert len(cache._entries) <= 2
