"""Announces that credentials may have changed: an API key, a user, permissions, a session. Open streams then re-authenticate.

Changes made by this process are announced after the commit, here and to the other server processes. Changes of which no
notification arrives, such as those of management commands, are found by polling a version number that every change increments.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.models import CredentialsVersion, User
from project.bridge.database.read_transactions import run_lookup
from project.bridge.notifications.cross_process import publish_on, subscribe
from project.bridge.notifications.local import LocalSignal

logger = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 0.5  # polls only while there are subscribers
CREDENTIALS_TOPIC = "credentials"

caches_stale = LocalSignal[[]]()  # sent when another process made a change: caches of credentials must be cleared
credentials_changed = LocalSignal[[]]()  # sent on any thread, after the commit
_changed_here = LocalSignal[[]]()  # the same, but only for the changes made by this process


@asynccontextmanager
async def poll_credential_changes() -> AsyncIterator[None]:
    """Announce changes made by other processes too, while this context is open. The application's lifespan uses it."""
    task = asyncio.create_task(_poll())
    try:
        async with subscribe(CREDENTIALS_TOPIC, _announce_here), publish_on(_changed_here, topic=CREDENTIALS_TOPIC):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _announce_here() -> None:
    caches_stale.send()
    credentials_changed.send()


async def _poll() -> None:
    last_version, is_failing = None, False
    while True:
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        if not credentials_changed.has_subscribers:
            continue
        try:
            version = await run_lookup(_current_version)
        except Exception:
            if not is_failing:  # logged once per outage
                logger.exception("Polling for changed credentials failed; trying again every %g s", POLL_INTERVAL_SECONDS)
            is_failing = True
            continue
        is_failing = False
        if version != last_version:
            last_version = version
            _announce_here()


def _current_version() -> int:
    return CredentialsVersion.objects.values_list("version", flat=True).first() or 0


@receiver([post_save, post_delete], sender="api_keys.ApiKey")
@receiver([post_save, post_delete], sender=User)
@receiver([post_save, post_delete], sender=TOTPDevice)
@receiver([post_delete], sender=Session)
@receiver([m2m_changed], sender=User.user_permissions.through)
@receiver([m2m_changed], sender=User.groups.through)
@receiver([m2m_changed], sender=Group.permissions.through)
@receiver([post_delete], sender=Group)
def _announce(update_fields: frozenset[str] | None = None, **_kwargs: Any) -> None:
    if update_fields == frozenset({"last_login"}):
        return
    CredentialsVersion.objects.update_or_create(pk=1, defaults={"version": F("version") + 1}, create_defaults={})
    transaction.on_commit(credentials_changed.send, robust=True)
    transaction.on_commit(_changed_here.send, robust=True)
