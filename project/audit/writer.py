"""Writes rejected API credentials to the audit trail, in the background.

At most one row a minute is written for the same key, user or IP address and the same reason. After a hundred different rows in a
minute, all further IP addresses share one row for each reason.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction, AuditEvent
from project.audit.store import build_audit_event, write_audit_events
from project.auth.principal import NotAuthenticated
from project.bridge.database.transactions import run_in_transaction
from project.limits.client_network import rate_limit_network

logger = logging.getLogger(__name__)

WRITE_INTERVAL_SECONDS = 1.0  # entries of one interval share a transaction
FINAL_WRITE_TIMEOUT_SECONDS = 5.0  # when the application stops; the database may not answer
RETRY_INTERVAL_SECONDS = 60.0  # after a failed write
MAX_QUEUED_EVENTS = 1000  # maximum number of rows kept while the database is unavailable
MANY_ADDRESSES = "from many addresses"


class AuditWriter:
    """Queues and writes audit entries. Create one writer per application. Each process deduplicates separately."""

    def __init__(self) -> None:
        self._recent = RecentEvents()
        self._queued: list[AuditEvent] = []
        self._has_entries: asyncio.Event | None = None  # None unless `running` is active

    async def record(self, rejection: NotAuthenticated, *, ip_address: str | None) -> None:
        """Queue an entry for a rejected credential and return immediately. Without `running`, write the entry and then return."""
        if rejection.reason is None:
            return
        now, actor = time.monotonic(), rejection.name
        if not actor and not self._recent.has_capacity(now):
            actor, ip_address = MANY_ADDRESSES, None
        if not self._recent.is_new(actor or rate_limit_network(ip_address) or "unknown", rejection.reason, now=now):
            return
        self._queued.append(build_audit_event(AuditAction.REJECTED, actor, ip_address=ip_address, reason=rejection.reason))
        if self._has_entries is None:
            await self._write()
        else:
            self._has_entries.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write queued entries while this context is open, and the remaining entries when it closes. The lifespan uses it."""
        self._has_entries, stopping = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(self._write_loop(self._has_entries, stopping))
        try:
            yield
        finally:
            stopping.set()
            self._has_entries.set()
            await asyncio.wait({task}, timeout=FINAL_WRITE_TIMEOUT_SECONDS)
            if not task.done():
                logger.error("The last audit entries could not be written within %g s", FINAL_WRITE_TIMEOUT_SECONDS)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._has_entries = None

    async def _write_loop(self, has_entries: asyncio.Event, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await _wait(has_entries, RETRY_INTERVAL_SECONDS)
            has_entries.clear()
            await _wait(stopping, WRITE_INTERVAL_SECONDS)
            await self._write()

    async def _write(self) -> None:
        entries, self._queued = self._queued, []
        if not entries:
            return
        try:
            await run_in_transaction(write_audit_events, entries)
        except Exception:
            logger.exception("%d audit entries could not be written yet", len(entries))
            self._queued = [*entries, *self._queued][:MAX_QUEUED_EVENTS]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for(), which may swallow a cancellation in Python 3.11
            await event.wait()
