"""Heartbeats of delivery workers in the database: they show on every machine which workers run.

A worker increments its counter. The other processes only check whether the counter changes, by their own monotonic clocks. They
never compare wall clocks, because these may differ between machines and may be set at any time.
"""

import math
import socket
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Max, Min

from project.delivery.models import WorkerHeartbeat
from project.emails.models import Email
from project.emails.status import Status


@dataclass(frozen=True)
class WorkerActivity:
    """The traces of a worker in the database. A worker without a heartbeat (`beats` is None) may be of an older version."""

    beats: int | None = None
    latest_lease: datetime | None = None
    earliest_lease: datetime | None = None  # None if the worker holds no claim


def beat(worker: str, *, interval_seconds: float, now: datetime) -> None:
    """Increment the heartbeat of `worker`."""
    heartbeat = WorkerHeartbeat.objects.filter(worker=worker)
    if not heartbeat.update(beats=F("beats") + 1, beat_at=now):
        WorkerHeartbeat.objects.create(
            worker=worker,
            host=socket.gethostname()[:255],
            started_at=now,
            beat_at=now,
            beats=1,
            interval_seconds=interval_seconds,
        )


def remove_heartbeats(workers: Collection[str]) -> None:
    """Delete the heartbeats of workers that have ended."""
    WorkerHeartbeat.objects.filter(worker__in=workers).delete()


def read_activity() -> dict[str, WorkerActivity]:
    """Return the activity of each worker that has a heartbeat or holds claims."""
    beats = dict(WorkerHeartbeat.objects.values_list("worker", "beats"))
    claims = (
        Email.objects.filter(status=Status.SENDING)
        .order_by()
        .values_list("claimed_by")
        .annotate(Max("lease_expires_at"), Min("lease_expires_at"))
    )
    leases = {worker: (latest, earliest) for worker, latest, earliest in claims}
    none = (None, None)
    return {name: WorkerActivity(beats.get(name), *leases.get(name, none)) for name in beats.keys() | leases.keys()}


class SilenceObserver:
    """Measures by this process's monotonic clock for how long each worker has shown no sign of life."""

    def __init__(self, *, max_gap_seconds: float = math.inf) -> None:
        """Create an observer without observations.

        `max_gap_seconds` limits what the time between two observations adds to a silence. If this process was stopped
        together with the workers, for example with the whole machine, the workers had no chance to send a heartbeat.
        """
        self._max_gap_seconds = max_gap_seconds
        self._observed_at: float | None = None
        self._silent_seconds: dict[str, float] = {}
        self._signs: dict[str, Hashable] = {}

    def observe(self, signs: Mapping[str, Hashable], *, now: float) -> None:
        """Record the current sign of life of each worker. `now` is a time on the monotonic clock."""
        gap = 0.0 if self._observed_at is None else min(now - self._observed_at, self._max_gap_seconds)
        self._silent_seconds = {
            name: self._silent_seconds[name] + gap if self._signs.get(name) == sign and name in self._signs else 0.0
            for name, sign in signs.items()
        }
        self._signs, self._observed_at = dict(signs), now

    def silent_seconds(self, worker: str) -> float:
        """Return for how long the worker has been observed without a sign of life. 0 for an unknown worker."""
        return self._silent_seconds.get(worker, 0.0)
