"""The embedded engine: it delivers what is queued, in this process.

The database says what is to be done; the engine only acts on it. It is woken at once when a mail was accepted, and
looks by itself every few seconds for what no wake-up reached (another process, a crash between commit and wake-up).
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from django.db import connections
from django.utils import timezone

from project.bridge import database
from project.bridge.threads import Threads
from project.outbox.claim import claim_emails, renew_leases, requeue_abandoned
from project.outbox.deliver import Outcome, record_outcome, send_email
from project.outbox.instance import alive, dead_engines, forget
from project.outbox.models import Email
from project.outbox.queries import next_due
from project.outbox.retry import Fault, pause_after

logger = logging.getLogger(__name__)

SENDERS = 10  # mails in the transport's hands at the same time
LOOK_EVERY = 5.0  # seconds


class Engine:
    """Claims queued mail and hands it to the transport, on threads that serve no requests. One per application."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the engines of this machine see each other."""
        self.folder = folder
        self._senders = Threads("sender", SENDERS, on_leave=connections.close_all)
        self._sending: set[asyncio.Task[None]] = set()
        self._wanted: asyncio.Event | None = None  # while the loop runs: there is something to look at
        self._loop: asyncio.Task[None] | None = None
        self._sweep_due = 0.0
        self._relay_failures = 0  # in a row: the relay itself was wrong, not a mail
        self._paused_until: datetime | None = None

    @property
    def healthy(self) -> bool:
        """Whether its loop runs."""
        return self._loop is not None and not self._loop.done()

    async def deliver_soon(self) -> None:
        """For a background task: wake the loop or, where no lifespan runs one, deliver what is queued now."""
        if self._wanted is not None:
            self._wanted.set()
            return
        with alive(self.folder) as name:
            while self._paused_until is None and await self._claim(name):
                await asyncio.wait(self._sending)

    @asynccontextmanager
    async def running(self, *, grace: float) -> AsyncIterator[None]:
        """For the lifespan: deliver while this is open. At the end, what is in hand has `grace` seconds to be done."""
        with alive(self.folder) as name:
            wanted = self._wanted = asyncio.Event()
            self._loop = asyncio.create_task(self._deliver_forever(name, wanted))
            try:
                yield
            finally:
                self._wanted = None
                wanted.set()
                await self._finish(grace)

    async def _deliver_forever(self, name: str, wanted: asyncio.Event) -> None:
        while self._wanted is not None:
            wanted.clear()
            await self._look(name)
            seconds = await self._until_something_is_due()
            with suppress(TimeoutError):
                await asyncio.wait_for(wanted.wait(), seconds)
        await self._look(name)  # what was accepted just before the end still goes

    async def _look(self, name: str) -> None:
        try:
            await self._sweep(name)
            await self._claim(name)
        except Exception:
            logger.exception("The engine will look again in %g s", LOOK_EVERY)

    async def _sweep(self, name: str) -> None:
        """Now and then, say that this engine is alive, and put back what no living one has in hand."""
        if time.monotonic() < self._sweep_due:
            return
        if self._sending:
            await database.run(renew_leases, name, now=timezone.now())
        dead = dead_engines(self.folder)
        if count := await database.run(requeue_abandoned, dead, now=timezone.now()):
            logger.warning("Put %d abandoned mails back into the queue", count)
        forget(dead, self.folder)
        self._sweep_due = time.monotonic() + LOOK_EVERY

    async def _claim(self, name: str) -> int:
        """Begin to send as many as there is room for. Gives how many that were."""
        room = self._room(timezone.now())
        emails = await database.run(claim_emails, name, limit=room, now=timezone.now()) if room > 0 else []
        for email in emails:
            task = asyncio.create_task(self._deliver(email))
            self._sending.add(task)
            task.add_done_callback(self._ended)
        return len(emails)

    def _room(self, now: datetime) -> int:
        """How many mails may be claimed: none while the relay is given a pause, and after it one, to see."""
        if self._paused_until is not None and now < self._paused_until:
            return 0
        return (1 if self._relay_failures else SENDERS) - len(self._sending)

    async def _until_something_is_due(self) -> float:
        """Seconds until the loop must look by itself: at the time of what waits for one, and every few seconds anyway."""
        try:
            due = await database.run(next_due)
        except Exception:
            logger.exception("The engine does not know what is due")
            return LOOK_EVERY
        return LOOK_EVERY if due is None else min(max((due - timezone.now()).total_seconds(), 0.0), LOOK_EVERY)

    def _mind_the_relay(self, outcome: Outcome) -> None:
        if not outcome.error or outcome.fault != Fault.RELAY:
            self._relay_failures, self._paused_until = 0, None
            return
        self._relay_failures += 1
        self._paused_until = pause_after(self._relay_failures, now=timezone.now())
        logger.error("The relay does not work; the next try is at %s", f"{self._paused_until:%H:%M:%S}")

    async def _deliver(self, email: Email) -> None:
        try:
            outcome = await self._senders.run(send_email, email)
            self._mind_the_relay(outcome)
            await database.run(record_outcome, email, outcome, now=timezone.now(), jitter=random.random())  # noqa: S311
        except Exception:
            logger.exception("Email %s stays claimed until its lease runs out", email.id)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._sending.discard(task)
        if self._wanted is not None:
            self._wanted.set()  # there is room again

    async def _finish(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        while (ending := self._in_hand()) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(ending, timeout=left)
        for task in ending:
            task.cancel()
        if ending:
            logger.error("%d mails in hand after %g s of grace: the next start sends them again", len(self._sending), grace)
        self._senders.close(timeout=0)

    def _in_hand(self) -> "set[asyncio.Task[None]]":
        return self._sending | ({self._loop} if self._loop is not None and not self._loop.done() else set())
