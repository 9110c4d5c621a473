"""A short-lived cache of authenticated API keys, so that a busy client causes one database query per second, not one per call.
Simultaneous calls with the same key share one query.

That a key was used is recorded once a minute.

An entry expires after less than a second. When a process changes a key, it clears its own cache at once. So all processes reject
a revoked key within a second.
"""

import asyncio
import logging
import time
from hashlib import sha256
from math import inf
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from project.accounts.models import User
from project.api_keys.keys import LAST_USED_RESOLUTION, authenticate_api_key, record_use
from project.api_keys.models import ApiKey
from project.auth.credential_changes import caches_stale
from project.auth.principal import Principal
from project.bridge.database.read_transactions import run_lookup
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, run_in_transaction

logger = logging.getLogger(__name__)

TTL_SECONDS = 0.9
MAX_ENTRIES = 10_000

_entries: dict[bytes, tuple[Principal, float]] = {}  # by the SHA-256 of the key, so that no secret is stored
_lookups: dict[bytes, tuple["asyncio.Task[Principal]", float]] = {}  # queries in progress, and when they started
_recorded_at: dict[bytes, float] = {}  # when this process last recorded the use of a key, on the monotonic clock


async def authenticate_api_key_cached(text: str) -> Principal:
    """Return the key's principal, from the cache if possible. Raises `NotAuthenticated`."""
    fingerprint, now = sha256(text.encode()).digest(), time.monotonic()
    if (entry := _entries.get(fingerprint)) and now < entry[1] and _is_unexpired(entry[0]):
        return entry[0]
    lookup = _lookups.get(fingerprint)
    if lookup is None or now >= lookup[1] + TTL_SECONDS:  # after this time, the query may have read the state before a change
        lookup = _start_lookup(text, fingerprint, now)
    return await asyncio.shield(lookup[0])  # the call that started the query may be canceled, and the others not


def _start_lookup(text: str, fingerprint: bytes, now: float) -> tuple["asyncio.Task[Principal]", float]:
    lookups = _lookups
    lookup = lookups[fingerprint] = asyncio.get_running_loop().create_task(_look_up(text, fingerprint, now)), now

    def remove(_task: object) -> None:
        if lookups.get(fingerprint) is lookup:
            del lookups[fingerprint]

    lookup[0].add_done_callback(remove)
    return lookup


async def _look_up(text: str, fingerprint: bytes, now: float) -> Principal:
    entries = _entries
    principal = await run_lookup(authenticate_api_key, text, now=timezone.now())
    await _record_use(text, fingerprint, now)
    if len(entries) >= MAX_ENTRIES:
        entries.clear()
    # The lifetime starts before the query. If the cache was cleared meanwhile, `entries` is the old dict, which is discarded.
    entries[fingerprint] = principal, now + TTL_SECONDS
    return principal


async def _record_use(text: str, fingerprint: bytes, now: float) -> None:
    if now < _recorded_at.get(fingerprint, -inf) + LAST_USED_RESOLUTION.total_seconds():
        return
    if len(_recorded_at) >= MAX_ENTRIES:
        _recorded_at.clear()
    _recorded_at[fingerprint] = now
    try:
        await run_in_transaction(record_use, text, now=timezone.now())
    except DATABASE_UNAVAILABLE_ERRORS:  # callers can still read while writes fail
        logger.warning("Could not record the use of an API key", exc_info=True)


def clear() -> None:
    """Drop all entries. Later calls do not share the queries that are in progress, which may have read the old state."""
    global _entries, _lookups  # one cache per process
    _entries, _lookups = {}, {}


def _is_unexpired(principal: Principal) -> bool:
    return principal.expires_at is None or timezone.now() < principal.expires_at


caches_stale.subscribe(clear)


@receiver([post_save, post_delete], sender=ApiKey)
@receiver([post_save, post_delete], sender=User)  # the owner of keys may have been deactivated
def _clear_on_change(**_kwargs: Any) -> None:
    clear()
    transaction.on_commit(clear, robust=True)  # again, because a query during this transaction may have cached the old state
