"""Runs jobs of the admin in the background, round by round. Each round is one short transaction, which also stores the progress.

Several processes may run rounds of the same job, because a round locks the job's row. After a crash, the next round continues
where the last committed round ended.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from django.db import connection
from django.db.models import Model, QuerySet
from django.utils import timezone

from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, run_in_transaction
from project.bridge.notifications.local import LocalSignal

logger = logging.getLogger(__name__)

Job = TypeVar("Job", bound=Model)

POLL_INTERVAL_SECONDS = 5.0  # finds jobs that another process started and did not finish
ROUND_PAUSE_SECONDS = 0.02  # lets other writers in between two rounds


def lock_oldest(running: "QuerySet[Job]") -> Job | None:
    """Lock the oldest of the running jobs, with its user. Return None if there is none that no other transaction has locked."""
    if connection.features.has_select_for_update_skip_locked:
        running = running.select_for_update(skip_locked=True, of=("self",))
    return running.select_related("user").order_by("id").first()


@dataclass(frozen=True)
class BackgroundJobRunner:
    """Runs the jobs of one kind. Create one runner per application. The application's lifespan uses `running`.

    `run_round` processes the next rows of the oldest running job, and returns whether there was one. `fail_oldest` ends that job
    with an error. The signal `started` wakes the runner.
    """

    label: str  # for the log
    run_round: Callable[..., bool]
    fail_oldest: Callable[..., None]
    started: LocalSignal[[]]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run jobs while this context is open. A round in progress is completed."""
        loop, wake_up = asyncio.get_running_loop(), asyncio.Event()
        with self.started.subscribed(lambda: loop.call_soon_threadsafe(wake_up.set)):
            task = asyncio.create_task(self._run_loop(wake_up))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _run_loop(self, wake_up: asyncio.Event) -> None:
        while True:
            wake_up.clear()
            pause = ROUND_PAUSE_SECONDS if await self._run_round() else POLL_INTERVAL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake_up.wait()

    async def _run_round(self) -> bool:
        """Run one round. Return whether to go on at once: not while the database is unavailable, and not without work."""
        try:
            return await run_in_transaction(self.run_round, now=timezone.now())
        except DATABASE_UNAVAILABLE_ERRORS:
            return False  # readiness and the log already report this
        except Exception as error:
            logger.exception("%s failed", self.label)
            with suppress(*DATABASE_UNAVAILABLE_ERRORS):
                await run_in_transaction(self.fail_oldest, type(error).__name__, now=timezone.now())
            return False
