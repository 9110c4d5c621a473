"""The delivery loop: one run of a worker that polls for due emails, claims them and passes them to the sender pool."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery.circuit_breaker import MIN_SUSPECTED_EMAILS, CircuitBreaker, requested_probe, save_outage, update_breaker
from project.delivery.claim import claim_emails, has_due_emails, next_due_at, release_claims
from project.delivery.claim_budget import ClaimBudget
from project.delivery.heartbeat import remove_heartbeats
from project.delivery.lease import DEFAULT_TIMING, LeaseTiming
from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.liveness import LivenessLock
from project.delivery.queue_sweep import QueueSweep
from project.delivery.sender_pool import SenderPool
from project.emails.models import Email
from project.transports.factory import create_transport
from project.transports.result import SendResult

logger = logging.getLogger(__name__)

STALLED_AFTER_SECONDS = 60.0  # a loop whose poll takes longer hangs; the waits of a slow database are shorter
RECHECK_IN_FLIGHT_SECONDS = 5.0  # between polls of `deliver_due` while emails are in flight
RECHECK_SECONDS = 0.1  # while claimed emails wait for a connection
MIN_POLL_INTERVAL_SECONDS = 0.02  # pause after a poll that finds no emails, so that emails queued meanwhile are claimed together

P = ParamSpec("P")
T = TypeVar("T")


class DeliveryLoop:
    """One run of a worker, within `running`: either `start`, or `deliver_due`."""

    def __init__(self, lock: LivenessLock, folder: Path, *, poll_interval: float, timing: LeaseTiming = DEFAULT_TIMING) -> None:
        """Create the transport and its sender pool. `folder` contains the liveness locks; `poll_interval` is in seconds."""
        self._name = lock.name
        self._lock = lock
        self._poll_interval = poll_interval
        self._keeper = LeaseKeeper(lock, folder, lambda: self._pool.in_flight_ids, timing=timing)
        self._pool = SenderPool(create_transport(), self._on_result, guard=self._keeper, on_lost=self.wake)
        self._breaker = CircuitBreaker(max_suspected=max(MIN_SUSPECTED_EMAILS, 2 * self._pool.max_connections))
        self._budget = ClaimBudget(self._pool)
        self._wake_up = asyncio.Event()
        self._release_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_finishing = False
        self._has_backlog = False  # the last poll claimed as many emails as it could
        self.results = 0  # how many emails have a result so far
        self._may_have_more = False  # the last poll claimed emails, so there may be more
        self._is_unfinished = False  # the last poll ended early, so that other work gets its turn; the next one follows at once
        self._claimed_at = -math.inf
        self._progressed_at = time.monotonic()  # when the last poll ended
        self._queue_sweep = QueueSweep()

    @property
    def is_running(self) -> bool:
        """Return whether the loop started by `start` still runs and does not hang."""
        return self._task is not None and not self._task.done() and self._is_progressing()

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
        return is_polling and not self._pool.is_stuck

    def start(self) -> None:
        """Start to poll for due emails. Polling ends with `finish`."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Poll now, because an email may be due."""
        self._wake_up.set()

    def stop_claiming(self) -> None:
        """Claim no more emails. A running `deliver_due` returns soon."""
        self._is_finishing = True
        self.wake()

    async def deliver_due(self, *, seconds: float = math.inf, on_backlog: Callable[[], object] = lambda: None) -> None:
        """Deliver until no more emails are due, the relay is unavailable, or `seconds` have passed.

        Emails in flight go on after that. `on_backlog` is called while more emails are due than this worker can claim.
        """
        deadline = time.monotonic() + seconds
        while not self._is_finishing:
            self._wake_up.clear()
            await self._sweep_and_claim()
            if self._has_backlog:
                on_backlog()
            remaining = deadline - time.monotonic()
            if self._breaker.failures or remaining <= 0:
                return
            if self._is_unfinished:
                continue
            if self._pool.in_flight:
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
        while self._pool.in_flight and (remaining := deadline - time.monotonic()) > 0:
            self._wake_up.clear()
            await _wait(self._wake_up, remaining)
        await self._release_waiting()
        if self._pool.in_flight:
            logger.error(
                "%d emails still in flight after the grace period of %g s; the next start sends them again",
                self._pool.in_flight,
                grace,
            )
        await self._pool.stop()
        if self._breaker.failures:
            await self._try_query(save_outage, self._name, CircuitBreaker(), now=timezone.now())
        await self._end_claims()

    async def _end_claims(self) -> None:
        """Release the claims on emails whose sending was aborted. Keep those on emails that a thread still sends."""
        still_sending = self._pool.still_sending_ids
        if aborted := self._pool.in_flight_ids - set(still_sending):
            await self._try_query(release_claims, self._name, aborted, now=timezone.now())
        if still_sending:
            self._lock.keep_until_exit()  # as soon as this process exits, another worker sends these emails again
        else:
            await self._try_query(remove_heartbeats, [self._name])

    async def _run(self) -> None:
        while not self._is_finishing:
            self._wake_up.clear()
            await self._poll()
            await _wait(self._wake_up, await self._seconds_until_next_poll())
            if not self._may_have_more:
                await asyncio.sleep(MIN_POLL_INTERVAL_SECONDS - (time.monotonic() - self._claimed_at))
        await self._poll()  # emails queued just before the shutdown are still sent

    async def _poll(self) -> None:
        try:
            await self._sweep_and_claim()
        except Exception:
            self._may_have_more = self._is_unfinished = False
            logger.exception("The delivery worker could not poll the queue; trying again in %g s", self._poll_interval)
        self._progressed_at = time.monotonic()

    async def _sweep_and_claim(self) -> None:
        """Take a limited part of each kind of work: emails of other workers, emails to fail or repair, and emails to send."""
        await self._keeper.sweep()
        await self._queue_sweep.run_if_due()
        has_more = await self._claim()
        self._is_unfinished = has_more or self._queue_sweep.is_unfinished

    async def _claim(self) -> bool:
        """Claim and submit as many emails as fit. Return whether all were suppressed or too old, but more are due."""
        if not self._budget.has_room:
            return False
        if self._breaker.next_probe_at is not None:
            self._breaker.probe_by(await run_in_transaction(requested_probe, self._name))
        limit = self._breaker.capacity(self._budget.room, in_flight=self._pool.in_flight, now=timezone.now())
        emails, has_more = await run_in_transaction(self._claim_now, limit) if limit else ([], False)
        self._keeper.claimed([email.id for email in emails])
        self._pool.submit(emails)
        if not self._breaker.capacity(1, in_flight=0, now=timezone.now()):
            await self._release_waiting()  # the breaker opened during the claim
        self._may_have_more = bool(emails)
        previous, self._claimed_at = self._claimed_at, time.monotonic()
        self._has_backlog = bool(emails) and len(emails) == limit
        if self._has_backlog:
            self._budget.adapt(seconds=self._claimed_at - previous)
        return has_more and not emails

    def _claim_now(self, limit: int) -> tuple[list[Email], bool]:
        """Claim emails. Return them, and whether more emails may be due.

        The time is read after the wait for the write lock, because the emails may have been queued during that wait.
        """
        now = timezone.now()
        options = self._budget.options(self._breaker)
        emails = claim_emails(self._name, limit=limit, now=now, lease=self._keeper.timing.duration, options=options)
        return emails, bool(emails) or has_due_emails(self._name, now=now, options=options)

    async def _seconds_until_next_poll(self) -> float:
        """Return the seconds until the next email or probe is due, but at most the poll interval."""
        if self._is_unfinished:
            return 0.0
        due = self._breaker.next_probe_at
        if due is not None and due <= timezone.now():
            due = None  # the pause is over; only emails can be waited for
        if self._may_have_more and self._pool.waiting:  # perhaps only because their recipients are slow
            return min(RECHECK_SECONDS, self._poll_interval)
        if due is None and not self._may_have_more:
            due = await self._try_query(next_due_at)
        seconds = self._poll_interval if due is None else (due - timezone.now()).total_seconds()
        if seconds <= 0 and self._pool.in_flight:  # due, but not claimed: the next results make room for these emails
            self._may_have_more, seconds = True, self._poll_interval
        return min(max(seconds, 0.0), self._poll_interval)

    async def _on_result(self, email: Email, result: SendResult) -> None:
        self.results += 1
        if update_breaker(self._breaker, email.id, result, now=timezone.now()):
            if self._breaker.next_probe_at is not None:
                logger.error("The relay is unavailable; next attempt at %s", f"{self._breaker.next_probe_at:%H:%M:%S}")
                await self._release_waiting()
            await self._try_query(save_outage, self._name, self._breaker, now=timezone.now())
            self.wake()
        if not self._pool.in_flight or (self._may_have_more and self._budget.has_room):
            self.wake()

    async def _release_waiting(self) -> None:
        async with self._release_lock:  # `finish` must wait for a release in progress before it cancels the task that runs it
            if emails := self._pool.withdraw():
                await self._try_query(release_claims, self._name, [email.id for email in emails], now=timezone.now())

    async def _try_query(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Run `function` in a transaction. If it fails, log the error and return None.

        The next sweep repairs the state that could not be stored.
        """
        try:
            return await run_in_transaction(function, *args, **kwargs)
        except Exception:
            logger.exception("The delivery worker could not run %s", function.__name__)
            return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not asyncio.wait_for, which may swallow a cancellation in Python 3.11
            await event.wait()
