"""A short-lived cache of authenticated API keys, so that a busy client causes one database query per second, not one per call.

An entry expires after less than a second. When a process changes a key, it clears its own cache at once. So all processes reject
a revoked key within a second.
"""

import time
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from project.api_keys.keys import authenticate_api_key
from project.api_keys.models import ApiKey
from project.auth.credential_changes import caches_stale
from project.auth.principal import Principal
from project.bridge.database.transactions import run_in_transaction

TTL_SECONDS = 0.9
MAX_ENTRIES = 10_000

_entries: dict[bytes, tuple[Principal, float]] = {}  # by the SHA-256 of the key, so that no secret is stored


async def authenticate_api_key_cached(text: str) -> Principal:
    """Return the key's principal, from the cache if possible. Raises `NotAuthenticated`."""
    entries, fingerprint, now = _entries, sha256(text.encode()).digest(), time.monotonic()
    if (entry := entries.get(fingerprint)) and now < entry[1] and _is_unexpired(entry[0]):
        return entry[0]
    principal = await run_in_transaction(authenticate_api_key, text, now=timezone.now())
    if len(entries) >= MAX_ENTRIES:
        entries.clear()
    # The lifetime starts before the query. If the cache was cleared meanwhile, `entries` is the old dict, which is discarded.
    entries[fingerprint] = principal, now + TTL_SECONDS
    return principal


def clear() -> None:
    """Drop all entries."""
    global _entries  # noqa: PLW0603  # one cache per process
    _entries = {}


def _is_unexpired(principal: Principal) -> bool:
    return principal.expires_at is None or timezone.now() < principal.expires_at


caches_stale.subscribe(clear)


@receiver([post_save, post_delete], sender=ApiKey)
def _clear_on_change(**_kwargs: Any) -> None:
    clear()
    transaction.on_commit(clear, robust=True)  # again, because a query during this transaction may have cached the old state
