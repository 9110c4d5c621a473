"""Counts for the queue metrics, read from partial indexes that stay small no matter how many emails were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max
from django.utils import timezone

from project.delivery.circuit_breaker import is_delivery_paused
from project.delivery.models import WorkerHeartbeat
from project.delivery.readiness import MISSED_BEATS, oldest_due_at
from project.emails.models import Email
from project.emails.status import NOT_SENT, Status
from project.events.models import Event
from project.transports.factory import relay_names

MAX_SENDING_EMAILS = 500  # whose events are read
CLOCK_TOLERANCE = timedelta(seconds=5)  # a worker on another machine writes the times of its heartbeats by its own clock


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
    live_workers: int = 0


def read_queue_stats() -> QueueStats:
    """Return the current counts."""
    counts = {status.value: Email.objects.filter(status=status).count() for status in NOT_SENT}
    now = timezone.now()
    return QueueStats(
        counts, oldest_due_at(now=now), is_delivery_paused(len(relay_names())), _oldest_sending_at(), _count_live_workers(now)
    )


def _oldest_sending_at() -> datetime | None:
    """Return when sending began of the email that is being sent for the longest time, among those that were submitted first."""
    sending = list(Email.objects.filter(status=Status.SENDING).order_by("id").values_list("id", flat=True)[:MAX_SENDING_EMAILS])
    events = Event.objects.filter(email_id__in=sending, type=f"email.{Status.SENDING}").order_by()
    return min(events.values_list("email_id").annotate(at=Max("created_at")).values_list("at", flat=True), default=None)


def _count_live_workers(now: datetime) -> int:
    heartbeats = WorkerHeartbeat.objects.values_list("beat_at", "interval_seconds")
    return sum(beat_at > now - timedelta(seconds=MISSED_BEATS * interval) - CLOCK_TOLERANCE for beat_at, interval in heartbeats)
