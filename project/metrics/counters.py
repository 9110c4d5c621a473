"""Prometheus counters of this process. Each committed event is counted once."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import prometheus_client as prometheus

from project.bridge.notifications.local import LocalSignal

LATENCY_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 172800)
FAILURE_STATUSES = frozenset({"delayed", "failed", "bounced"})

events_total = prometheus.Counter("mailrail_events", "Events (status changes of emails) written by this process", ["type"])
failures_total = prometheus.Counter(
    "mailrail_failures", "Failed delivery attempts, by the email's new status and the relay's reply", ["status", "smtp_code"]
)
delivery_seconds = prometheus.Histogram(
    "mailrail_delivery_seconds",
    "Time from when the email was first due until the relay accepted it",
    buckets=LATENCY_BUCKETS_SECONDS,
)


class StatusChange(NamedTuple):
    """The fields of one event that the counters need. `seconds` is the time since the email was submitted."""

    status: str
    smtp_code: int | None
    seconds: float


class EventCounts(NamedTuple):
    """Counts of several events: the number by type, a (status, SMTP code) pair for each failed attempt, and delivery times."""

    types: dict[str, int]
    failed: list[tuple[str, int | None]]
    seconds: list[float]


events_counted = LocalSignal[[EventCounts]]()  # sent on any thread; a worker subprocess forwards these counts to the server


def count_events(changes: Iterable[StatusChange]) -> None:
    """Count committed events."""
    changes = list(changes)
    counts = EventCounts(
        types=Counter(f"email.{change.status}" for change in changes),
        failed=[(change.status, change.smtp_code) for change in changes if change.status in FAILURE_STATUSES],
        seconds=[change.seconds for change in changes if change.status == "sent"],
    )
    add_counts(counts)
    events_counted.send(counts)


def merge_counts(all_counts: Iterable[EventCounts]) -> EventCounts:
    """Return the sum of several counts."""
    types, failed, seconds = Counter[str](), list[tuple[str, int | None]](), list[float]()
    for counts in all_counts:
        types.update(counts.types)
        failed += counts.failed
        seconds += counts.seconds
    return EventCounts(types, failed, seconds)


def add_counts(counts: EventCounts) -> None:
    """Add counts to this process's counters. The counts may come from another process."""
    for event_type, number in counts.types.items():
        events_total.labels(event_type).inc(number)
    for status, smtp_code in counts.failed:
        failures_total.labels(status, smtp_code or "none").inc()
    for seconds in counts.seconds:
        delivery_seconds.observe(seconds)
