"""Keeps one worker's leases: heartbeats, renewals, checks before sending, and taking over the emails of other workers."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery.abandoned import MAX_REQUEUED, Verdict, judge, requeue_abandoned
from project.delivery.claim import renew_leases
from project.delivery.heartbeat import SilenceObserver, WorkerActivity, beat, read_activity
from project.delivery.lease import LeaseTiming
from project.delivery.liveness import LivenessLock, dead_workers, read_sending, remove_dead

logger = logging.getLogger(__name__)

VERIFY_RETRY_SECONDS = 1.0  # between checks of the claims while the database is unavailable
# Unlike CLOCK_MONOTONIC, this clock also counts while the machine is suspended, and other machines take over emails meanwhile.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseKeeper:
    """Keeps the leases of the worker that holds `lock`, for the emails that `in_flight_ids` returns."""

    def __init__(
        self, lock: LivenessLock, folder: Path, in_flight_ids: Callable[[], Collection[UUID]], *, timing: LeaseTiming
    ) -> None:
        """Create a keeper without a heartbeat. `folder` contains the liveness locks of this machine's workers."""
        self.timing = timing
        self._lock = lock
        self._folder = folder
        self._in_flight_ids = in_flight_ids
        self._renewing = asyncio.Lock()
        self._renewed_at = self._swept_at = -math.inf  # on CLOCK
        self._activity: dict[str, WorkerActivity] = {}  # of all workers, at the last renewal
        self._activity_read_at: datetime | None = None
        self._lost: set[UUID] = set()  # emails in flight that another worker has taken over
        self._observer = SilenceObserver(max_gap_seconds=2 * timing.renewal_seconds)
        self.is_observing = False  # whether a worker with an expired lease has not been observed for long enough

    @asynccontextmanager
    async def running(self, *, is_progressing: Callable[[], bool]) -> AsyncIterator[None]:
        """Renew while this context is open and `is_progressing()` is true. A worker that hangs thus loses its emails."""
        task = asyncio.create_task(self._renew_regularly(is_progressing))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sweep(self) -> None:
        """Once per interval, renew the leases, and requeue the emails of dead and stopped workers."""
        if _now() < self._swept_at + self.timing.renewal_seconds:
            return
        await self._renew()
        await self._take_over()
        self._swept_at = _now()

    async def may_start(self, email_id: UUID) -> bool:
        """Return whether the worker still holds its claim on an email that it is about to send.

        Asks the database only if the last renewal is long ago, because the process may have been stopped or suspended.
        """
        has_failed = False
        while _now() > self._renewed_at + self.timing.verify_seconds:
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001  # after any error, another worker may have sent the email
                if not has_failed:
                    logger.error("Sending waits for the database: %s", type(error).__name__)  # noqa: TRY400
                has_failed = True
                await asyncio.sleep(VERIFY_RETRY_SECONDS)
        return not self._lost or email_id not in self._lost  # nearly always empty

    def claimed(self, email_ids: Collection[UUID]) -> None:
        """Forget that emails were lost, because the worker has claimed them again."""
        if self._lost:
            self._lost.difference_update(email_ids)

    def started(self, email_id: UUID) -> None:
        """Store that an email is being sent. If the process dies, only such emails are blamed for it."""
        try:
            self._lock.add_sending(email_id)
        except OSError as error:  # such as a full disk: then a crash may be blamed on an email that did not cause it
            logger.warning("The emails being sent could not be stored: %s", error)

    def ended(self, email_id: UUID) -> None:
        """Store that an email is no longer being sent."""
        self._lock.remove_sending(email_id)

    async def _renew_regularly(self, is_progressing: Callable[[], bool]) -> None:
        has_failed = False
        while True:
            await asyncio.sleep(self.timing.renewal_seconds)
            if not is_progressing():
                continue
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001  # after any error, the next renewal may succeed
                if not has_failed:
                    logger.error("The leases could not be renewed: %s", type(error).__name__)  # noqa: TRY400
                has_failed = True
            else:
                has_failed = False

    async def _renew(self) -> None:
        async with self._renewing:
            started_at = _now()
            if started_at < self._renewed_at + self.timing.renewal_seconds / 2:
                return  # another task has just renewed
            ids, now = list(self._in_flight_ids()), timezone.now()
            held, self._activity = await run_in_transaction(self._beat_and_renew, ids, now)
            self._lost = (self._lost & set(ids)) | (set(ids) - held)
            self._renewed_at, self._activity_read_at = started_at, now
            others = {name: each for name, each in self._activity.items() if name != self._lock.name}
            self._observer.observe({name: (each.beats, each.latest_lease) for name, each in others.items()}, now=time.monotonic())

    def _beat_and_renew(self, ids: list[UUID], now: datetime) -> tuple[set[UUID], dict[str, WorkerActivity]]:
        beat(self._lock.name, interval_seconds=self.timing.renewal_seconds, now=now)
        held = renew_leases(self._lock.name, ids, now=now, lease=self.timing.duration) if ids else set()
        return held, read_activity()

    async def _take_over(self) -> None:
        name, now = self._lock.name, self._activity_read_at or timezone.now()
        others = {worker: each for worker, each in self._activity.items() if worker != name}
        dead = dead_workers(self._folder)
        verdict = judge(others, self._observer, dead=dead, timing=self.timing, now=now)
        self.is_observing = not verdict.is_final
        sending = {worker: ids for worker in verdict.workers if (ids := read_sending(worker, self._folder)) is not None}
        # An expired lease of this worker's own belongs to an email that it lost track of: it has just renewed all others.
        with_own = Verdict(verdict.ended, [*verdict.silent, name])
        count = await run_in_transaction(requeue_abandoned, with_own, sending=sending, now=now)
        if count:
            logger.warning("Requeued %d abandoned emails", count)
        if count < MAX_REQUEUED:
            remove_dead(dead, self._folder)


def _now() -> float:
    return time.clock_gettime(CLOCK)
