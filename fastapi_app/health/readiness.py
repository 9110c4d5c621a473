"""Readiness checks: the database, the channel layer and delivery. docs/production.md has the table of results."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from django.conf import settings
from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.bridge.notifications.cross_process import ping_channel_layer
from project.delivery.readiness import DatabaseReport, WorkerMonitor, check_database
from project.delivery.worker import DeliveryWorker

CHECK_TIMEOUT_SECONDS = 2.0  # for each check
DATABASE_CHECK_INTERVAL_SECONDS = 1.0  # a success counts for this time, because each check writes to the database
OK, DEGRADED, UNKNOWN = "ok", "degraded", "unknown"

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """The result of each check, and a warning that does not affect the status code."""

    checks: dict[str, str]
    warning: str | None = None

    @property
    def is_ready(self) -> bool:
        """Return whether the server can accept emails and a worker delivers them."""
        return self.checks["database"] == OK and self.checks["delivery"] == OK

    @property
    def is_degraded(self) -> bool:
        """Return whether the server is ready, but without notifications from other processes."""
        return self.is_ready and self.checks["channel_layer"] != OK


class ReadinessChecks:
    """Runs the checks. Create one instance per application."""

    def __init__(self, worker: DeliveryWorker) -> None:
        self._worker = worker
        self._monitor = WorkerMonitor(worker.folder)
        self._database_check: asyncio.Future[DatabaseReport] | None = None
        self._database_checked_at = 0.0  # on the monotonic clock; only meaningful if there was a check

    async def run(self) -> Report:
        """Run all checks at the same time."""
        (database, problem), (_, channel_layer) = await asyncio.gather(
            _run_check(self._check_database()), _run_check(ping_channel_layer())
        )
        warnings = [f"channel_layer: {channel_layer}"] if channel_layer != OK else []
        if database is not None and (age := _queue_age_warning(database)):
            warnings.append(age)
        checks = {
            "database": problem,
            "channel_layer": OK if channel_layer == OK else DEGRADED,
            "delivery": self._check_delivery(database),
        }
        return Report(checks, "; ".join(warnings) or None)

    async def _check_database(self) -> DatabaseReport:
        """Return the result of the running or last check. One check at a time, so a hung database occupies only one thread."""
        check = self._database_check
        if check is None or (check.done() and time.monotonic() >= self._database_checked_at + DATABASE_CHECK_INTERVAL_SECONDS):
            check = asyncio.ensure_future(run_in_transaction(check_database, now=timezone.now()))
            check.add_done_callback(self._database_check_ended)
            self._database_check = check
        return await asyncio.shield(check)

    def _database_check_ended(self, check: "asyncio.Future[DatabaseReport]") -> None:
        self._database_checked_at = time.monotonic()
        if check.cancelled() or check.exception() is not None:  # a failure is reported only to the callers that waited for it
            self._database_check = None

    def _check_delivery(self, database: DatabaseReport | None) -> str:
        if self._worker.is_enabled:
            return OK if self._worker.is_healthy else "not running"
        if database is None:
            return UNKNOWN
        is_live = self._monitor.has_live_worker(database.heartbeats, monotonic=time.monotonic(), now=timezone.now())
        return OK if is_live else "no delivery worker is running"


async def _run_check(check: Awaitable[T]) -> tuple[T | None, str]:
    """Return the check's result, if it succeeded, and "ok" or the problem."""
    try:
        return await asyncio.wait_for(check, CHECK_TIMEOUT_SECONDS), OK
    except TimeoutError:
        return None, f"no response within {CHECK_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001  # any error is the result of the check
        return None, type(error).__name__  # without its text, because the response is public and the text may name hosts


def _queue_age_warning(database: DatabaseReport) -> str | None:
    """Return a warning if the oldest email has waited for too long."""
    limit = settings.READY_MAX_QUEUE_AGE
    if not limit or database.oldest_due_at is None:
        return None
    age = (timezone.now() - database.oldest_due_at).total_seconds()
    return f"queue: the oldest email has waited for {age:.0f} s" if age > limit else None
