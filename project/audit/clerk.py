"""The clerk: writes the API's refusals into the trail, in nobody's way, and deletes what is old.

A flood of bad credentials is a row a minute for each key, user or address and each reason; beyond a hundred addresses, for all.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from django.utils import timezone

from project.accounts.addresses import site_of
from project.accounts.principal import NotAuthenticated
from project.audit.models import AuditEvent, Fact
from project.audit.recent import Recent
from project.audit.record import delete_old_events, event_of, write_events
from project.bridge import database

logger = logging.getLogger(__name__)

GATHER = 1.0  # seconds in which refusals come together into one transaction
TIDY_EVERY = 3600.0  # seconds
MOST_WAITING = 1000  # rows, while the database is away
MANY = "from many addresses"


class Clerk:
    """One per application, and each process counts for itself."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._waiting: list[AuditEvent] = []
        self._came: asyncio.Event | None = None  # while it runs
        self._tidied_at = -math.inf

    async def note(self, refusal: NotAuthenticated, *, address: str | None) -> None:
        """Take down a credential that was refused. Returns at once; where no lifespan runs, when it is written."""
        if refusal.why is None:
            return
        now, name = time.monotonic(), refusal.name
        if not name and not self._recent.has_room(now):
            name, address = MANY, None
        if not self._recent.is_news(name or site_of(address) or "unknown", refusal.why, now=now):
            return
        self._waiting.append(event_of(Fact.REFUSED, name, address=address, reason=refusal.why))
        if self._came is None:
            await self._write()
        else:
            self._came.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the lifespan: work while this is open. What waits at its end is written."""
        self._came, ends = asyncio.Event(), asyncio.Event()
        work = asyncio.create_task(self._work(self._came, ends))
        try:
            yield
        finally:
            ends.set()
            self._came.set()
            await work
            self._came = None

    async def _work(self, came: asyncio.Event, ends: asyncio.Event) -> None:
        is_over = False
        while not is_over:
            await self._tidy()
            await _wait(came, TIDY_EVERY)
            came.clear()
            await _wait(ends, GATHER)
            is_over = ends.is_set()
            await self._write()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            await database.run(write_events, waiting)
        except Exception:
            logger.exception("The audit trail lacks %d refusals for now", len(waiting))
            self._waiting = [*waiting, *self._waiting][:MOST_WAITING]

    async def _tidy(self) -> None:
        if time.monotonic() < self._tidied_at + TIDY_EVERY:
            return
        self._tidied_at = time.monotonic()
        try:
            while await database.run(delete_old_events, now=timezone.now()):
                pass
        except Exception:
            logger.exception("Old entries of the audit trail could not be deleted")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: Python 3.11's may swallow a cancellation
            await event.wait()
