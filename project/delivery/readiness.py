"""Readiness: whether the database accepts writes, which workers beat, and since when the oldest email is due."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from project.delivery.heartbeat import SilenceObserver
from project.delivery.liveness import dead_workers
from project.delivery.models import WorkerHeartbeat, WriteProbe
from project.emails.models import Email
from project.emails.status import WAITING_UNTIL_DUE, Status
from project.events.models import Event

MISSED_BEATS = 4  # after this many intervals without a heartbeat, a worker counts as standing still
NO_ROW = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class DatabaseReport:
    """The result of a database check that succeeded."""

    heartbeats: Sequence[WorkerHeartbeat]
    oldest_due_at: datetime | None  # since when the email that has waited longest is due


def check_database(*, now: datetime) -> DatabaseReport:
    """Write to the database, and return what the other checks need. Raises the database's error if it accepts no writes.

    The written row is deleted in the same transaction, so that the checks of several servers never wait for each other.
    """
    WriteProbe.objects.create(created_at=now).delete()
    # These statements change no row, but on PostgreSQL they need the table locks that accepting an email needs.
    Email.objects.filter(id=NO_ROW).update(last_error="")
    Event.objects.filter(id=0).update(smtp_transcript="")
    return DatabaseReport(list(WorkerHeartbeat.objects.all()), oldest_due_at(now=now))


def oldest_due_at(*, now: datetime) -> datetime | None:
    """Return since when the email that has waited longest is due, or None if no email waits."""
    queued = Email.objects.filter(status=Status.QUEUED).order_by("id").only("created_at", "scheduled_at", "retried_at").first()
    waiting = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__lte=now).order_by("next_attempt_at")
    times = [queued.due_since if queued else None, waiting.values_list("next_attempt_at", flat=True).first()]
    return min((time for time in times if time is not None), default=None)


class WorkerMonitor:
    """Judges whether any delivery worker works, for a server whose emails are delivered by other processes."""

    def __init__(self, folder: Path) -> None:
        """Create a monitor without observations. `folder` contains the liveness locks of this machine's workers."""
        self._folder = folder
        self._observer = SilenceObserver()
        self._first_beats: dict[str, int] = {}

    def has_live_worker(self, heartbeats: Collection[WorkerHeartbeat], *, monotonic: float, now: datetime) -> bool:
        """Record the heartbeats, and return whether a worker works."""
        self._observer.observe({each.worker: each.beats for each in heartbeats}, now=monotonic)
        self._first_beats = {each.worker: self._first_beats.get(each.worker, each.beats) for each in heartbeats}
        dead = dead_workers(self._folder) if self._folder.exists() else []
        return any(each.worker not in dead and self._is_live(each, now) for each in heartbeats)

    def _is_live(self, heartbeat: WorkerHeartbeat, now: datetime) -> bool:
        limit = MISSED_BEATS * heartbeat.interval_seconds
        if self._observer.silent_seconds(heartbeat.worker) >= limit:
            return False
        # Until the first change is observed, only the worker's own clock says when it beat.
        has_changed = heartbeat.beats != self._first_beats[heartbeat.worker]
        return has_changed or abs(now - heartbeat.beat_at) < timedelta(seconds=limit)
