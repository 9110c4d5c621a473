"""Prometheus metrics of emails and their events. Each committed event is counted once."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import prometheus_client as prometheus

from project.bridge.notifications.local import LocalSignal

LATENCY_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 172800)
FAILURE_STATUSES = frozenset({"delayed", "failed", "bounced"})
FIRST_PERMANENT_CODE = 500
FINAL_FAILURES = frozenset({"failed", "bounced"})

events_total = prometheus.Counter("mailrail_events", "Events (status changes of emails) written by this process", ["type"])
failures_total = prometheus.Counter(
    "mailrail_failures", "Failed delivery attempts, by the email's new status and the relay's reply", ["status", "smtp_code"]
)
accepted_total = prometheus.Counter("mailrail_emails_accepted", "Emails accepted for delivery", ["priority"])
failed_total = prometheus.Counter(
    "mailrail_emails_failed",
    "Emails that finally failed, by a class of reasons; once for each result of its recipients",
    ["reason"],
)
event_subscribers = prometheus.Gauge(
    "mailrail_event_subscribers", "Open WebSockets and streams of events", multiprocess_mode="livesum"
)
delivery_seconds = prometheus.Histogram(
    "mailrail_delivery_seconds",
    "Time from when the email was first due until the relay accepted it",
    buckets=LATENCY_BUCKETS_SECONDS,
)


class StatusChange(NamedTuple):
    """The fields of one event that the counters need. `seconds` is how long a sent email was due."""

    status: str
    smtp_code: int | None
    seconds: float
    response: str | None = None

    @property
    def reason(self) -> str:
        """The class of reasons of a final failure. There are few classes, unlike the emails' own reasons."""
        if self.status == "bounced":
            return "bad_address"
        if self.smtp_code is not None:
            return "rejected" if self.smtp_code >= FIRST_PERMANENT_CODE else "deferred"
        return "no_reply" if self.response is None else "expired"  # without a code, only an email that is too old has a text


class EventCounts(NamedTuple):
    """Counts of several events: the number by type, a (status, SMTP code) pair for each failed attempt, delivery times, and
    the reasons of final failures.
    """

    types: dict[str, int]
    failed: list[tuple[str, int | None]]
    seconds: list[float]
    reasons: dict[str, int] = {}


def count_accepted(priorities: Mapping[str, int]) -> None:
    """Count accepted emails by priority."""
    for priority, number in priorities.items():
        accepted_total.labels(priority).inc(number)


events_counted = LocalSignal[[EventCounts]]()  # sent on any thread; a worker subprocess forwards these counts to the server


def count_events(changes: Iterable[StatusChange]) -> None:
    """Count committed events."""
    changes = list(changes)
    counts = EventCounts(
        types=Counter(f"email.{change.status}" for change in changes),
        failed=[(change.status, change.smtp_code) for change in changes if change.status in FAILURE_STATUSES],
        seconds=[change.seconds for change in changes if change.status == "sent"],
        reasons=Counter(change.reason for change in changes if change.status in FINAL_FAILURES),
    )
    add_counts(counts)
    events_counted.send(counts)


def merge_counts(all_counts: Iterable[EventCounts]) -> EventCounts:
    """Return the sum of several counts."""
    types, failed, seconds, reasons = Counter[str](), list[tuple[str, int | None]](), list[float](), Counter[str]()
    for counts in all_counts:
        types.update(counts.types)
        failed += counts.failed
        seconds += counts.seconds
        reasons.update(counts.reasons)
    return EventCounts(types, failed, seconds, reasons)


def add_counts(counts: EventCounts) -> None:
    """Add counts to this process's counters. The counts may come from another process."""
    for event_type, number in counts.types.items():
        events_total.labels(event_type).inc(number)
    for status, smtp_code in counts.failed:
        failures_total.labels(status, smtp_code or "none").inc()
    for seconds in counts.seconds:
        delivery_seconds.observe(seconds)
    for reason, number in counts.reasons.items():
        failed_total.labels(reason).inc(number)
