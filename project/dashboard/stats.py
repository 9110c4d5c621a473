"""What the dashboard shows, read by ids and small indexes: it costs as much among a million mails as among a thousand.

What was counted of a minute, an hour or a day is remembered: each event is counted once.
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

SERIES_BY_EVENT_TYPE = {"email.sent": "sent", "email.delayed": "delayed", "email.failed": "failed", "email.bounced": "failed"}
QUEUE_STATUSES = (Status.QUEUED, Status.SENDING, Status.DELAYED, Status.SCHEDULED)
FAILURE_STATUSES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)
CLOSE_BUCKET_AFTER = timedelta(seconds=30)  # until then, what happened before may still be committed
LATENCY_SAMPLE_SIZE = 1000  # mails: the latest that were sent
LATENCY_EVENT_WINDOW = 20_000  # events
FAILURE_SAMPLE_SIZE = 500  # mails: the latest of each status
MAX_SHOWN_EVENTS, MAX_SHOWN_FAILURES = 20, 5
PYTHON_SMTP_ERROR = re.compile(r"\((\d{3}), b?['\"](.*?)['\"]\)")  # as Python writes a reply in an exception
EMAIL_ADDRESS = re.compile(r"<?[^\s<>]+@[^\s<>:;,]+>?")
LONG_NUMBER = re.compile(r"\b(?=\w*\d)\w{8,}\b")


@dataclass(frozen=True)
class Resolution:
    """How finely time is divided, and into how many parts."""

    name: str
    length: timedelta
    parts: int

    def starts(self, now: datetime) -> list[datetime]:
        """Where each part begins, the oldest first; the last has `now` in it."""
        seconds = self.length.total_seconds()
        last = now.timestamp() // seconds * seconds
        return [datetime.fromtimestamp(last - seconds * back, UTC) for back in reversed(range(self.parts))]


RESOLUTIONS = {
    unit.name: unit
    for unit in (
        Resolution("minute", timedelta(minutes=1), 60),
        Resolution("hour", timedelta(hours=1), 24),
        Resolution("day", timedelta(days=1), 30),
    )
}


@dataclass(frozen=True)
class Latency:
    """From when a mail was accepted, or due, until the relay took it: in seconds, of the latest `mails`."""

    mails: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class Failure:
    """What a relay said, of how many of the latest mails that it did not take, and what became of the last of them."""

    reply: str
    mails: int
    status: str


@dataclass(frozen=True)
class QueueDepths:
    """How many mails are in each passing status, and since when the first of those that wait does so."""

    depths: Mapping[str, int]
    oldest: datetime | None


@dataclass(frozen=True)
class Bucket:
    """What was counted of a part of the time: all events before the id `upto`, and none will follow if it is `over`."""

    upto: int
    count: dict[str, int]
    over: bool


def bucket_counts(unit: Resolution, *, now: datetime) -> dict[datetime, dict[str, int]]:
    """How many were sent, delayed and failed in each part of the time, the oldest first."""
    keys = {start: f"outbox-counts:{unit.name}:{start.timestamp():.0f}" for start in unit.starts(now)}
    remembered: dict[str, Bucket] = cache.get_many(keys.values())
    counted, low, last = {}, 0, _last_event_id() + 1
    for start, key in keys.items():
        part = remembered.get(key)
        if part is None or not part.over:
            begun = part or Bucket(
                first_event_id_since(start, low=low, high=last), dict.fromkeys(SERIES_BY_EVENT_TYPE.values(), 0), over=False
            )
            part = _count_new_events(begun, end=start + unit.length, last=last, now=now)
            cache.set(key, part, (unit.length * (unit.parts + 1)).total_seconds())
        counted[start], low = part.count, part.upto
    return counted


def first_event_id_since(moment: datetime, *, low: int, high: int) -> int:
    """The id of the first event since then, between two ids. Events have their ids in the order in which they happened."""
    while low < high:
        middle = (low + high) // 2
        event = Event.objects.filter(id__gte=middle).order_by("id").values_list("id", "created_at").first()
        if event is None or event[1] >= moment:
            high = middle
        else:
            low = event[0] + 1
    return low


def read_queue_depths() -> QueueDepths:
    """What is to be sent."""
    depths = {status.value: Email.objects.filter(status=status).count() for status in QUEUE_STATUSES}
    return QueueDepths(depths, oldest_queued_at())


def oldest_queued_at() -> datetime | None:
    """Since when the first of the mails that could be sent waits, if any does. One that was retried waits since then."""
    first = Email.objects.filter(status=Status.QUEUED).order_by("id").values_list("id", flat=True).first()
    return Event.objects.filter(email_id=first).order_by("-id").values_list("created_at", flat=True).first() if first else None


def read_latency(*, now: datetime) -> Latency:
    """Of the mails that were sent in the last hour."""
    last = _last_event_id() + 1
    since = first_event_id_since(now - timedelta(hours=1), low=max(0, last - LATENCY_EVENT_WINDOW), high=last)
    sent = Event.objects.filter(id__gte=since, type="email.sent").order_by("-id")
    times = sent.values_list("created_at", "email__created_at", "email__scheduled_at")[:LATENCY_SAMPLE_SIZE]
    seconds = sorted(max(0.0, (at - max(accepted, due or accepted)).total_seconds()) for at, accepted, due in times)
    return Latency(len(seconds), percentile(seconds, 50), percentile(seconds, 95))


def top_failures() -> list[Failure]:
    """The replies that most of the latest mails got which were not taken, the most frequent first."""
    said: Counter[str] = Counter()
    statuses: dict[str, str] = {}
    for status in FAILURE_STATUSES:
        errors = Email.objects.filter(status=status).order_by("-id").values_list("last_error", flat=True)[:FAILURE_SAMPLE_SIZE]
        for reply in map(generalize_reply, errors):
            said[reply] += 1
            statuses[reply] = status.value
    return [Failure(reply, mails, statuses[reply]) for reply, mails in said.most_common(MAX_SHOWN_FAILURES)]


def relay_outages() -> list[RelayOutage]:
    """The engines that found the relay not working."""
    return list(RelayOutage.objects.order_by("started_at"))


def latest_events() -> list[Event]:
    """The last that happened, the newest first."""
    return list(Event.objects.order_by("-id").defer("smtp_transcript")[:MAX_SHOWN_EVENTS])


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The value that so many per cent of them do not exceed (the nearest rank), if there are any."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def generalize_reply(reply: str) -> str:
    """What the relay said, as of any mail: addresses and long numbers are left out, so that equal ones are counted."""
    if refused := PYTHON_SMTP_ERROR.search(reply):
        reply = " ".join(refused.groups())
    return LONG_NUMBER.sub("…", EMAIL_ADDRESS.sub("…", reply)).strip() or "No reply"


def _count_new_events(part: Bucket, *, end: datetime, last: int, now: datetime) -> Bucket:
    """Only what is new is counted: ids are in the order of the commits."""
    upto = last if end > now else first_event_id_since(end, low=part.upto, high=last)
    count = dict(part.count)
    if part.upto < upto:
        happened = Event.objects.filter(id__gte=part.upto, id__lt=upto, type__in=SERIES_BY_EVENT_TYPE).order_by()
        for kind, number in happened.values_list("type").annotate(Count("id")):
            count[SERIES_BY_EVENT_TYPE[kind]] += number
    return Bucket(upto, count, over=end + CLOSE_BUCKET_AFTER < now)


def _last_event_id() -> int:
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
