"""Counts for the queue metrics, read from partial indexes that stay small no matter how many emails were sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import CharField, Count, Max, Min
from django.db.models.functions import Cast
from django.utils import timezone

from project.delivery.circuit_breaker import is_delivery_paused
from project.delivery.models import WorkerHeartbeat
from project.delivery.readiness import MISSED_BEATS, oldest_due_at
from project.emails.models import Email
from project.emails.priority import Priority
from project.emails.row_counts import count_by_status
from project.emails.status import NOT_SENT, Status
from project.events.models import Event
from project.transports.factory import relay_names

MAX_SENDING_EMAILS = 500  # whose events are read
CLOCK_TOLERANCE = timedelta(seconds=5)  # a worker on another machine writes the times of its heartbeats by its own clock


@dataclass(frozen=True)
class PriorityQueue:
    """The number of queued emails of one priority, and since when the first of them is due."""

    priority: Priority
    count: int = 0
    oldest_due_at: datetime | None = None


@dataclass(frozen=True)
class QueueStats:
    """Numbers of emails by status (except `sent`), since when the oldest email is due, and whether delivery is paused.

    `oldest_sending_at` is when sending began of the email that is being sent for the longest time. `live_workers` counts the
    delivery workers with a recent heartbeat.
    """

    counts_by_status: Mapping[str, int]
    oldest_due_at: datetime | None
    is_relay_paused: bool
    oldest_sending_at: datetime | None = None
    queues: Sequence[PriorityQueue] = ()
    live_workers: int = 0


def read_queue_stats() -> QueueStats:
    """Return the current counts."""
    now = timezone.now()
    return QueueStats(
        count_by_status(NOT_SENT),
        oldest_due_at(now=now),
        is_delivery_paused(len(relay_names())),
        oldest_sending_at=_oldest_sending_at(),
        queues=_read_queues(),
        live_workers=_count_live_workers(now),
    )


def _read_queues() -> list[PriorityQueue]:
    """Return the queue of each priority.

    The first statement reads only an index that begins with the priority. PostgreSQL 17 and earlier have no MIN of UUIDs.
    """
    queued = Email.objects.filter(status=Status.QUEUED).order_by().values_list("priority")
    rows = queued.annotate(count=Count("id"), first_id=Min(Cast("id", CharField())))
    queues = {priority: (count, first_id) for priority, count, first_id in rows}
    first_ids = [UUID(first_id) for _count, first_id in queues.values()]
    firsts = Email.objects.filter(id__in=first_ids).only("created_at", "scheduled_at", "retried_at", "priority")
    due = {email.priority: email.due_since for email in firsts}
    return [PriorityQueue(each, queues[each][0] if each in queues else 0, due.get(each)) for each in Priority]


def _oldest_sending_at() -> datetime | None:
    """Return when sending began of the email that is being sent for the longest time, among those that were submitted first."""
    sending = list(Email.objects.filter(status=Status.SENDING).order_by("id").values_list("id", flat=True)[:MAX_SENDING_EMAILS])
    events = Event.objects.filter(email_id__in=sending, type=f"email.{Status.SENDING}").order_by()
    return min(events.values_list("email_id").annotate(at=Max("created_at")).values_list("at", flat=True), default=None)


def _count_live_workers(now: datetime) -> int:
    heartbeats = WorkerHeartbeat.objects.values_list("beat_at", "interval_seconds")
    return sum(beat_at > now - timedelta(seconds=MISSED_BEATS * interval) - CLOCK_TOLERANCE for beat_at, interval in heartbeats)
