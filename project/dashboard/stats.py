"""Reads the dashboard's numbers with queries on ids and small indexes, so that the queries stay fast with millions of emails.

Event counts per minute, hour or day are cached, so that a refresh counts only the events since the last refresh.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.cache import cache
from django.db.models import Count

from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.events.selectors import last_event_id

SERIES_BY_EVENT_TYPE = {"email.sent": "sent", "email.delayed": "delayed", "email.failed": "failed", "email.bounced": "failed"}
QUEUE_STATUSES = (Status.QUEUED, Status.SENDING, Status.DELAYED, Status.SCHEDULED)
FAILURE_STATUSES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)
CLOSE_BUCKET_AFTER = timedelta(seconds=30)  # a transaction that began within the bucket may commit after its end
LATENCY_SAMPLE_SIZE = 1000  # most recently sent emails
LATENCY_EVENT_WINDOW = 20_000  # most recent events that are searched for sent emails
FAILURE_SAMPLE_SIZE = 500  # most recent emails of each failure status
MAX_SHOWN_EVENTS, MAX_SHOWN_FAILURES = 20, 5
PYTHON_SMTP_ERROR = re.compile(r"\((\d{3}), b?['\"](.*?)['\"]\)")  # an SMTP reply as Python prints it in an exception
EMAIL_ADDRESS = re.compile(r"<?[^\s<>]+@[^\s<>:;,]+>?")
LONG_NUMBER = re.compile(r"\b(?=\w*\d)\w{8,}\b")


@dataclass(frozen=True)
class Resolution:
    """Length and number of the chart's buckets."""

    name: str
    bucket_length: timedelta
    bucket_count: int

    def bucket_starts(self, now: datetime) -> list[datetime]:
        """Return the start of each bucket, oldest first. The last bucket contains `now`."""
        seconds = self.bucket_length.total_seconds()
        last = now.timestamp() // seconds * seconds
        return [datetime.fromtimestamp(last - seconds * back, UTC) for back in reversed(range(self.bucket_count))]


RESOLUTIONS = {
    resolution.name: resolution
    for resolution in (
        Resolution("minute", timedelta(minutes=1), 60),
        Resolution("hour", timedelta(hours=1), 24),
        Resolution("day", timedelta(days=1), 30),
    )
}


@dataclass(frozen=True)
class Latency:
    """Seconds from submission, or from the scheduled time, until the relay accepted the email; `emails` is the sample size."""

    emails: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Failure:
    """A reply of the relay, the number of recent emails that received this reply, and the status of one of these emails."""

    reply: str
    emails: int
    status: str


@dataclass(frozen=True)
class QueueDepths:
    """Number of emails in each status of the queue, and the time when the oldest queued email was last queued."""

    depths: Mapping[str, int]
    oldest_queued_at: datetime | None


@dataclass(frozen=True)
class Bucket:
    """Counts of the events in one time span, up to the event id `end_id` (exclusive). A `closed` bucket gets no more events."""

    end_id: int
    counts: dict[str, int]
    closed: bool


def bucket_counts(resolution: Resolution, *, now: datetime) -> dict[datetime, dict[str, int]]:
    """Return the number of sent, delayed and failed events in each bucket, by the bucket's start, oldest first."""
    keys = {start: f"dashboard-bucket:{resolution.name}:{start.timestamp():.0f}" for start in resolution.bucket_starts(now)}
    cached: dict[str, Bucket] = cache.get_many(keys.values())
    counts, low, high = {}, 0, last_event_id() + 1
    for start, key in keys.items():
        bucket = cached.get(key)
        if bucket is None or not bucket.closed:
            bucket = bucket or _empty_bucket(first_event_id_since(start, low=low, high=high))
            bucket = _count_new_events(bucket, end=start + resolution.bucket_length, end_id=high, now=now)
            cache.set(key, bucket, (resolution.bucket_length * (resolution.bucket_count + 1)).total_seconds())
        counts[start], low = bucket.counts, bucket.end_id
    return counts


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


def top_failures() -> list[Failure]:
    """Return the most frequent relay replies among recent delayed, failed and bounced emails, most frequent first."""
    emails: Counter[str] = Counter()
    statuses: dict[str, str] = {}
    for status in FAILURE_STATUSES:
        errors = Email.objects.filter(status=status).order_by("-id").values_list("last_error", flat=True)[:FAILURE_SAMPLE_SIZE]
        for reply in map(generalize_reply, errors):
            emails[reply] += 1
            statuses[reply] = status.value
    return [Failure(reply, number, statuses[reply]) for reply, number in emails.most_common(MAX_SHOWN_FAILURES)]


def relay_outages() -> list[RelayOutage]:
    """Return the current relay outages, one for each worker that found the relay unavailable."""
    return list(RelayOutage.objects.order_by("started_at"))


def latest_events() -> list[Event]:
    """Return the latest events, newest first."""
    return list(Event.objects.order_by("-id").defer("smtp_transcript")[:MAX_SHOWN_EVENTS])


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of sorted values, or None if there are no values."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def generalize_reply(reply: str) -> str:
    """Replace email addresses and long numbers with "…", so that the same reply to different emails counts as one reply."""
    if match := PYTHON_SMTP_ERROR.search(reply):
        reply = " ".join(match.groups())
    return LONG_NUMBER.sub("…", EMAIL_ADDRESS.sub("…", reply)).strip() or "No reply"


def _empty_bucket(end_id: int) -> Bucket:
    return Bucket(end_id, dict.fromkeys(SERIES_BY_EVENT_TYPE.values(), 0), closed=False)


def _count_new_events(bucket: Bucket, *, end: datetime, end_id: int, now: datetime) -> Bucket:
    """Return the bucket with the new events added. Event ids are in commit order, so no new event has an id below `end_id`."""
    if end <= now:
        end_id = first_event_id_since(end, low=bucket.end_id, high=end_id)
    counts = dict(bucket.counts)
    if bucket.end_id < end_id:
        events = Event.objects.filter(id__gte=bucket.end_id, id__lt=end_id, type__in=SERIES_BY_EVENT_TYPE).order_by()
        for event_type, number in events.values_list("type").annotate(Count("id")):
            counts[SERIES_BY_EVENT_TYPE[event_type]] += number
    return Bucket(end_id, counts, closed=end + CLOSE_BUCKET_AFTER < now)
