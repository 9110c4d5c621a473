"""Reads the dashboard's numbers about the queue, latency, outages and events. The queries stay fast with millions of emails."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Subquery

from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, call_in_transaction
from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.row_counts import count_by_status
from project.emails.status import Status
from project.events.models import Event
from project.statistics.email_counts import count_events, uncounted_events

logger = logging.getLogger(__name__)

QUEUE_STATUSES = (Status.QUEUED, Status.SENDING, Status.DELAYED, Status.SCHEDULED)
LATENCY_SAMPLE_SIZE = 1000  # most recently sent emails
MAX_COUNTED_EVENTS = 5000  # in one request; the queue's sweep counts the others
MAX_SHOWN_EVENTS = 20


@dataclass(frozen=True)
class Latency:
    """Seconds from submission, or from the scheduled time, until the relay accepted the email; `emails` is the sample size."""

    emails: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class QueueDepths:
    """Number of emails in each status of the queue, and the time when the oldest queued email was last queued."""

    depths: Mapping[str, int]
    oldest_queued_at: datetime | None


def read_queue_depths() -> QueueDepths:
    """Count the emails that are not sent yet."""
    return QueueDepths(count_by_status(QUEUE_STATUSES), oldest_queued_at())


def oldest_queued_at() -> datetime | None:
    """Return when the oldest queued email was last queued (a retry queues it again), or None if no email is queued."""
    oldest = Email.objects.filter(status=Status.QUEUED).order_by("id").values("pk")[:1]
    return Event.objects.filter(email_id=Subquery(oldest)).order_by("-id").values_list("created_at", flat=True).first()


def read_latency(*, now: datetime) -> Latency:
    """Return the delivery latency of emails sent in the last hour. If there are many, only the latest emails count."""
    sent = Event.objects.filter(type="email.sent").order_by("-id")
    times = sent.values_list("created_at", "email__created_at", "email__scheduled_at")[:LATENCY_SAMPLE_SIZE]
    begin = now - timedelta(hours=1)
    seconds = sorted(
        max(0.0, (sent_at - max(created_at, scheduled_at or created_at)).total_seconds())
        for sent_at, created_at, scheduled_at in times
        if sent_at >= begin
    )
    return Latency(len(seconds), percentile(seconds, 50), percentile(seconds, 95))


def catch_up(newest_id: int, *, now: datetime) -> int:
    """Count the latest events, up to a limit. Return about how many events up to `newest_id` are not counted yet."""
    if not (uncounted := uncounted_events(newest_id)):
        return 0
    try:
        counted = call_in_transaction(count_events, now=now, limit=MAX_COUNTED_EVENTS)
    except DATABASE_UNAVAILABLE_ERRORS:  # such as a busy writer: the numbers that are stored can still be read
        logger.warning("The latest events could not be counted for the dashboard", exc_info=True)
        return uncounted
    return uncounted_events(newest_id) if counted < uncounted else 0


def relay_outages() -> list[RelayOutage]:
    """Return the current relay outages, one for each worker that found the relay unavailable."""
    return list(RelayOutage.objects.order_by("started_at"))


def latest_events(*, up_to: int) -> list[Event]:
    """Return the latest events with an id up to `up_to`, newest first."""
    return list(Event.objects.filter(id__lte=up_to).order_by("-id").defer("smtp_transcript")[:MAX_SHOWN_EVENTS])


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of sorted values, or None if there are no values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
