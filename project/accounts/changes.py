"""That somebody's credentials may have changed: a key, a person, what they may do, a session. Open sockets ask again then.

This process tells of its own changes as they are committed. Of another's it hears by looking at a number that each counts up.
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

from project.accounts import known_keys
from project.accounts.models import ApiKey, Revision, User
from project.bridge import database
from project.bridge.listeners import Listeners

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds, while anybody listens

changed = Listeners[[]]()  # told on any thread, once it is committed


@asynccontextmanager
async def watching() -> AsyncIterator[None]:
    """For the lifespan: while this is open, tell of what changed in other processes, too."""
    task = asyncio.create_task(_watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch() -> None:
    seen, fails = None, False
    while True:
        await asyncio.sleep(LOOK_EVERY)
        if not changed.anybody_listens:
            continue
        try:
            number = await database.run(_number)
        except Exception:
            if not fails:  # said once
                logger.exception("Could not look for changes of credentials; will look again every %g s", LOOK_EVERY)
            fails = True
            continue
        fails = False
        if number != seen:
            seen = number
            known_keys.forget()
            changed.tell()


def _number() -> int:
    return Revision.objects.values_list("number", flat=True).first() or 0


@receiver([post_save, post_delete], sender=ApiKey)
@receiver([post_save, post_delete], sender=User)
@receiver([post_save, post_delete], sender=TOTPDevice)
@receiver([post_delete], sender=Session)
@receiver([m2m_changed], sender=User.user_permissions.through)
@receiver([m2m_changed], sender=User.groups.through)
@receiver([m2m_changed], sender=Group.permissions.through)
@receiver([post_delete], sender=Group)
def _tell(update_fields: frozenset[str] | None = None, **_kwargs: Any) -> None:
    if update_fields == frozenset({"last_login"}):
        return
    Revision.objects.update_or_create(pk=1, defaults={"number": F("number") + 1}, create_defaults={})
    transaction.on_commit(changed.tell, robust=True)
