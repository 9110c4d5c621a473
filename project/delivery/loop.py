"""The delivery loop: one run of a worker that polls for due emails, claims them and passes them to the sender pool."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from django.utils import timezone

from project.bridge.database.read_transactions import run_lookup
from project.delivery.claim import next_due_at, release_claims
from project.delivery.heartbeat import remove_heartbeats
from project.delivery.lease import DEFAULT_TIMING, LeaseTiming
from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.liveness import LivenessLock
from project.delivery.optional_queries import limited_query_time, try_query
from project.delivery.queue_sweep import QueueSweep
from project.delivery.relay_failover import RelayFailover
from project.emails.priority import Priority
from project.transports.factory import create_transports

logger = logging.getLogger(__name__)

STALLED_AFTER_SECONDS = 60.0  # a loop whose poll takes longer hangs; the waits of a slow database are shorter
RECHECK_IN_FLIGHT_SECONDS = 1.0  # between polls of `deliver_due` while emails are in flight: urgent emails may be due
END_TIMEOUT_SECONDS = 5.0  # after the grace period, for the queries that release claims
IN_FLIGHT_AFTER_GRACE = "%d emails still in flight after the grace period of %g s; the next start sends them again"
MIN_POLL_INTERVAL_SECONDS = 0.02  # pause after a poll that finds no emails, so that emails queued meanwhile are claimed together


class DeliveryLoop:
    """One run of a worker, within `running`: either `start`, or `deliver_due`."""

    def __init__(self, lock: LivenessLock, folder: Path, *, poll_interval: float, timing: LeaseTiming = DEFAULT_TIMING) -> None:
        """Create the transports and their sender pools. `folder` contains the liveness locks; `poll_interval` is in seconds."""
        self._name = lock.name
        self._lock = lock
        self._poll_interval = poll_interval
        self._keeper = LeaseKeeper(lock, folder, lambda: self._relays.in_flight_ids, timing=timing)
        self._relays = RelayFailover(lock.name, create_transports(), self._keeper, wake=self.wake)
        self._wake_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_finishing = False
        self._is_unfinished = False  # the last poll ended early, so that other work gets its turn; the next one follows at once
        self._progressed_at = time.monotonic()  # when the last poll ended
        self._queue_sweep = QueueSweep()

    @property
    def is_running(self) -> bool:
        """Return whether the loop started by `start` still runs and does not hang."""
        return self._task is not None and not self._task.done() and self._is_progressing()

    @property
    def results(self) -> int:
        """Return how many emails have a result so far."""
        return self._relays.results

    @asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator[None]:
        """Send heartbeats and renew leases while this context is open. On exit, emails in flight have `grace()` seconds."""
        async with self._keeper.running(is_progressing=self._is_progressing):
            try:
                yield
            finally:
                await self._finish(grace())

    def _is_progressing(self) -> bool:
        is_polling = self._task is None or self._task.done() or time.monotonic() < self._progressed_at + STALLED_AFTER_SECONDS
        return is_polling and not self._relays.is_stuck

    def start(self) -> None:
        """Start to poll for due emails. Polling ends with `finish`."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Poll now, because an email may be due."""
        self._wake_up.set()

    def limit_to(self, priorities: Collection[Priority]) -> None:
        """Claim only emails of these priorities."""
        self._relays.limit_to(priorities)

    def stop_claiming(self) -> None:
        """Claim no more emails. A running `deliver_due` returns soon."""
        self._is_finishing = True
        self.wake()

    async def deliver_due(self, *, seconds: float = math.inf, on_backlog: Callable[[], object] = lambda: None) -> None:
        """Deliver until no more emails are due, all relays are unavailable, or `seconds` have passed.

        Emails in flight go on after that. `on_backlog` is called while more emails are due than this worker can claim.
        """
        deadline = time.monotonic() + seconds
        while not self._is_finishing:
            self._wake_up.clear()
            await self._sweep_and_claim()
            if self._relays.has_backlog:
                on_backlog()
            remaining = deadline - time.monotonic()
            if self._relays.are_all_unavailable or remaining <= 0:
                return
            if self._is_unfinished:
                continue
            if self._relays.in_flight:
                await _wait(self._wake_up, min(remaining, RECHECK_IN_FLIGHT_SECONDS))
            elif self._keeper.is_observing:  # emails whose worker may have stopped
                await _wait(self._wake_up, min(remaining, self._keeper.timing.renewal_seconds))
            else:
                return

    async def _finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for emails in flight, and release the claims on emails that are not being sent."""
        deadline = time.monotonic() + grace
        self._is_finishing = True
        self.wake()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=grace)
            self._task.cancel()
        while self._relays.in_flight and (remaining := deadline - time.monotonic()) > 0:
            self._wake_up.clear()
            await _wait(self._wake_up, remaining)
        with limited_query_time(END_TIMEOUT_SECONDS):
            await self._relays.release_waiting()
            if number := self._relays.in_flight:
                logger.error(IN_FLIGHT_AFTER_GRACE, number, grace)
            await self._relays.stop()
            await self._end_claims()

    async def _end_claims(self) -> None:
        """Release the claims on emails whose sending was aborted. Keep those on emails that a thread still sends."""
        still_sending = self._relays.still_sending_ids
        if aborted := self._relays.in_flight_ids - still_sending:
            await try_query(release_claims, self._name, aborted, now=timezone.now())
        if still_sending:
            self._lock.keep_until_exit()  # as soon as this process exits, another worker sends these emails again
        else:
            await try_query(remove_heartbeats, [self._name])

    async def _run(self) -> None:
        while not self._is_finishing:
            self._wake_up.clear()
            await self._poll()
            await _wait(self._wake_up, await self._seconds_until_next_poll())
            if not self._relays.may_have_more:
                await asyncio.sleep(MIN_POLL_INTERVAL_SECONDS - self._relays.seconds_since_claim)
        await self._poll()  # emails queued just before the shutdown are still sent

    async def _poll(self) -> None:
        try:
            await self._sweep_and_claim()
        except Exception:
            self._relays.expect_more(expected=False)
            self._is_unfinished = False
            logger.exception("The delivery worker could not poll the queue; trying again in %g s", self._poll_interval)
        self._progressed_at = time.monotonic()

    async def _sweep_and_claim(self) -> None:
        """Take a limited part of each kind of work: emails of other workers, emails to fail or repair, and emails to send."""
        await self._keeper.sweep()
        await self._queue_sweep.run_if_due()
        has_more = await self._relays.claim()
        self._is_unfinished = has_more or self._queue_sweep.is_unfinished

    async def _seconds_until_next_poll(self) -> float:
        """Return the seconds until the next email or probe is due, but at most the poll interval."""
        if self._is_unfinished:
            return 0.0
        if self._relays.may_have_more and self._relays.waiting:  # perhaps only because their recipients are slow
            return min(self._relays.recheck_seconds, self._poll_interval)
        now = timezone.now()
        probe_at = self._relays.next_probe_at(now=now)
        due = None
        if not self._relays.may_have_more and not (probe_at and self._relays.are_all_unavailable):
            due = await self._next_due()
        times = [time for time in (probe_at, due) if time is not None]
        seconds = min((time - timezone.now()).total_seconds() for time in times) if times else self._poll_interval
        if seconds <= 0 and self._relays.in_flight:  # due, but not claimed: the next results make room for these emails
            self._relays.expect_more(expected=True)
            seconds = self._poll_interval
        return min(max(seconds, 0.0), self._poll_interval)

    async def _next_due(self) -> datetime | None:
        try:
            return await run_lookup(next_due_at)  # a read: on SQLite, it must not wait for the write lock
        except Exception:
            logger.exception("The delivery worker could not read when the next email is due")
            return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not asyncio.wait_for, which may swallow a cancellation in Python 3.11
            await event.wait()
