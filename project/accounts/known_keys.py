"""The API keys that were just used: for a moment, the database is not asked about them again.

A program that sends a thousand mails a second sends its key a thousand times. What is known of it is forgotten after less
than a second, and at once when a key is changed in this process or expires: a revoked key is refused within a second everywhere.
"""

import time
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from project.accounts.keys import principal_of_key
from project.accounts.models import ApiKey
from project.accounts.principal import Principal
from project.bridge import database

LIVES = 0.9  # seconds
MOST = 10_000  # keys

_known: dict[bytes, tuple[Principal, float]] = {}  # by a hash of the key: the secret itself is kept nowhere


async def principal_of_known_key(text: str) -> Principal:
    """Who holds this key. Raises `NotAuthenticated`, whatever is wrong with it."""
    known, fingerprint, now = _known, sha256(text.encode()).digest(), time.monotonic()
    if (found := known.get(fingerprint)) and now < found[1] and _is_good(found[0]):
        return found[0]
    principal = await database.run(principal_of_key, text, now=timezone.now())
    if len(known) >= MOST:
        known.clear()
    # Counted from before the database was asked; and if all was forgotten meanwhile, so is this.
    known[fingerprint] = principal, now + LIVES
    return principal


def forget() -> None:
    """Ask again about all."""
    global _known  # noqa: PLW0603  # one process, one memory
    _known = {}


def _is_good(principal: Principal) -> bool:
    return principal.good_until is None or timezone.now() < principal.good_until


@receiver([post_save, post_delete], sender=ApiKey)
def _forget(**_kwargs: Any) -> None:
    forget()
    transaction.on_commit(forget, robust=True)  # who asked meanwhile was told how it was before
