"""Cache of authenticated API keys: its entries, their lifetime and their invalidation."""

import asyncio
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from project.api_keys import cache
from project.api_keys.cache import authenticate_api_key_cached, clear
from project.api_keys.keys import authenticate_api_key, create_key, revoke_key, rotate_key
from project.api_keys.models import ApiKey
from project.auth.principal import NotAuthenticated, Principal
from project.bridge.database.read_transactions import run_lookup
from project.bridge.database.transactions import run_in_transaction

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]


async def _create_key() -> str:
    return await run_in_transaction(create_key, "shop", scopes=["emails:send"])


async def _revoke_in_another_process() -> None:
    """Revoke all keys without sending a signal in this process."""
    await run_in_transaction(lambda: ApiKey.objects.update(revoked_at=timezone.now()))


async def test_caches_an_authenticated_key() -> None:
    key = await _create_key()
    first = await authenticate_api_key_cached(key)
    await _revoke_in_another_process()

    second = await authenticate_api_key_cached(key)

    assert second == first
    assert second.scopes == {"emails:send"}


async def test_entries_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _create_key()
    monkeypatch.setattr(cache, "TTL_SECONDS", 0.0)
    await authenticate_api_key_cached(key)
    await _revoke_in_another_process()

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_rejects_a_key_immediately_after_its_revocation() -> None:
    key = await _create_key()
    await authenticate_api_key_cached(key)

    await run_in_transaction(revoke_key, key[3:11], now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_drops_a_result_that_was_queried_before_the_cache_was_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    key = await _create_key()

    def authenticate_while_the_cache_is_cleared(text: str, *, now: datetime) -> Principal:
        principal = authenticate_api_key(text, now=now)
        clear()
        return principal

    with monkeypatch.context() as patch:
        patch.setattr(cache, "authenticate_api_key", authenticate_while_the_cache_is_cleared)
        await authenticate_api_key_cached(key)
    await _revoke_in_another_process()

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


async def test_rejects_a_cached_key_after_its_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    expires_at = timezone.now() + timedelta(hours=1)
    key = await run_in_transaction(create_key, "shop", scopes=["emails:send"], expires_at=expires_at)
    assert (await authenticate_api_key_cached(key)).expires_at == expires_at

    monkeypatch.setattr(timezone, "now", lambda: expires_at)

    with pytest.raises(NotAuthenticated, match="expired"):
        await authenticate_api_key_cached(key)


async def test_rejects_a_cached_old_secret_after_the_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    key, now = await _create_key(), timezone.now()
    await run_in_transaction(rotate_key, key[:11], overlap=timedelta(hours=1), now=now)
    await authenticate_api_key_cached(key)

    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=1))

    with pytest.raises(NotAuthenticated, match="rotated"):
        await authenticate_api_key_cached(key)


async def test_rejects_a_secret_immediately_after_a_rotation_without_overlap() -> None:
    key = await _create_key()
    await authenticate_api_key_cached(key)

    await run_in_transaction(rotate_key, key[:11], overlap=timedelta(), now=timezone.now())

    with pytest.raises(NotAuthenticated):
        await authenticate_api_key_cached(key)


def test_clears_the_cache_again_after_the_commit(django_capture_on_commit_callbacks: Any) -> None:
    key = create_key("shop", scopes=["emails:send"])

    with django_capture_on_commit_callbacks(execute=True):
        revoke_key(key[3:11], now=timezone.now())
        # As if another connection, for which the key was still valid, had added the key to the cache in the meantime.
        cache._entries[b""] = Principal("key", "shop", frozenset()), inf

    assert cache._entries == {}


async def test_does_not_cache_a_bad_key() -> None:
    key = await _create_key()
    bad = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"

    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            await authenticate_api_key_cached(bad)


async def test_bounds_the_number_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)

    for _ in range(5):
        await authenticate_api_key_cached(await _create_key())

    assert len(cache._entries) <= 2


async def test_records_that_a_key_was_used() -> None:
    key, before = await _create_key(), timezone.now()

    await authenticate_api_key_cached(key)

    last_used_at = (await run_lookup(ApiKey.objects.get)).last_used_at
    assert last_used_at is not None
    assert last_used_at >= before


async def test_authenticates_while_writes_fail(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OperationalError("attempt to write a readonly database")

    key = await _create_key()
    monkeypatch.setattr(cache, "record_use", fail)

    assert (await authenticate_api_key_cached(key)).name == "shop"
    assert "Could not record the use of an API key" in caplog.text


class CountedQueries:
    """Counts the queries for API keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(cache, "authenticate_api_key", self._authenticate)

    def _authenticate(self, text: str, *, now: datetime) -> Principal:
        self.count += 1
        return authenticate_api_key(text, now=now)


async def test_simultaneous_calls_share_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    key, queries = await _create_key(), CountedQueries(monkeypatch)

    principals = await asyncio.gather(*(authenticate_api_key_cached(key) for _ in range(10)))

    assert (queries.count, {principal.name for principal in principals}) == (1, {"shop"})


async def test_a_canceled_call_does_not_cancel_the_query_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    key, queries = await _create_key(), CountedQueries(monkeypatch)
    first, second = (asyncio.create_task(authenticate_api_key_cached(key)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()

    assert ((await second).name, queries.count) == ("shop", 1)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_does_not_share_a_query_that_was_started_before_the_cache_was_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    key, queries = await _create_key(), CountedQueries(monkeypatch)
    first = asyncio.create_task(authenticate_api_key_cached(key))
    await asyncio.sleep(0)

    clear()
    await asyncio.gather(first, authenticate_api_key_cached(key))

    assert queries.count == 2


async def test_does_not_share_an_old_query(monkeypatch: pytest.MonkeyPatch) -> None:
    key, queries = await _create_key(), CountedQueries(monkeypatch)
    monkeypatch.setattr(cache, "TTL_SECONDS", 0.0)

    await asyncio.gather(*(authenticate_api_key_cached(key) for _ in range(2)))

    assert (queries.count, cache._lookups) == (2, {})
