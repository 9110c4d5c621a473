"""Reads the dashboard's numbers about the queue, latency, outages and events. The queries stay fast with millions of emails."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.events.selectors import last_event_id

QUEUE_STATUSES = (Status.QUEUED, Status.SENDING, Status.DELAYED, Status.SCHEDULED)
LATENCY_SAMPLE_SIZE = 1000  # most recently sent emails
LATENCY_EVENT_WINDOW = 20_000  # most recent events that are searched for sent emails
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


def first_event_id_since(moment: datetime, *, low: int, high: int) -> int:
    """Return the id of the first event at or after `moment`, or `high` if there is none.

    A binary search from `low` to `high`. It works because event ids are in the order of the events' times.
    """
    while low < high:
        middle = (low + high) // 2
        event = Event.objects.filter(id__gte=middle).order_by("id").values_list("id", "created_at").first()
        if event is None or event[1] >= moment:
            high = middle
        else:
            low = event[0] + 1
    return low


def read_queue_depths() -> QueueDepths:
    """Count the emails that are not sent yet."""
    depths = {status.value: Email.objects.filter(status=status).count() for status in QUEUE_STATUSES}
    return QueueDepths(depths, oldest_queued_at())


def oldest_queued_at() -> datetime | None:
    """Return when the oldest queued email was last queued (a retry queues it again), or None if no email is queued."""
    email_id = Email.objects.filter(status=Status.QUEUED).order_by("id").values_list("id", flat=True).first()
    if email_id is None:
        return None
    return Event.objects.filter(email_id=email_id).order_by("-id").values_list("created_at", flat=True).first()


def read_latency(*, now: datetime) -> Latency:
    """Return the delivery latency of emails sent in the last hour. If there are many, only the latest emails count."""
    end_id = last_event_id() + 1
    start_id = first_event_id_since(now - timedelta(hours=1), low=max(0, end_id - LATENCY_EVENT_WINDOW), high=end_id)
    sent = Event.objects.filter(id__gte=start_id, type="email.sent").order_by("-id")
    times = sent.values_list("created_at", "email__created_at", "email__scheduled_at")[:LATENCY_SAMPLE_SIZE]
    seconds = sorted(
        max(0.0, (sent_at - max(created_at, scheduled_at or created_at)).total_seconds())
        for sent_at, created_at, scheduled_at in times
    )
    return Latency(len(seconds), percentile(seconds, 50), percentile(seconds, 95))


def relay_outages() -> list[RelayOutage]:
    """Return the current relay outages, one for each worker that found the relay unavailable."""
    return list(RelayOutage.objects.order_by("started_at"))


def latest_events(*, up_to: int) -> list[Event]:
    """Return the latest events with an id up to `up_to`, newest first."""
    return list(Event.objects.filter(id__lte=up_to).order_by("-id").defer("smtp_transcript")[:MAX_SHOWN_EVENTS])


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of sorted values, or None if there are no values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
