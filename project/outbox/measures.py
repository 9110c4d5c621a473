"""What this process has counted since it began, for Prometheus: one count for each event that was committed."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import prometheus_client as prometheus

from project.bridge.listeners import Listeners
from project.outbox.models import NewEvent
from project.outbox.states import Status

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 172800)  # seconds
FAILURES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)

events = prometheus.Counter("mailrail_events", "Changes of a mail's status that this process wrote down", ["type"])
failures = prometheus.Counter(
    "mailrail_failures", "Tries that failed: what became of the mail, and the reply", ["status", "smtp_code"]
)
latency = prometheus.Histogram("mailrail_delivery_seconds", "From the acceptance of a mail to the relay's", buckets=BUCKETS)


class Counts(NamedTuple):
    """Of some events: how many there are of each type, the failed tries as (status, the reply's code), seconds until sent."""

    types: dict[str, int]
    failed: list[tuple[str, int | None]]
    seconds: list[float]


counted = Listeners[[Counts]]()  # told on any thread, for another process to count too


def count(written: Iterable[NewEvent]) -> None:
    """Count events that were committed."""
    written = list(written)
    counts = Counts(
        types=Counter(event.type for event in written),
        failed=[(_status(event), event.data["smtp_code"]) for event in written if _status(event) in FAILURES],
        seconds=[_seconds_since_acceptance(event) for event in written if _status(event) == Status.SENT],
    )
    count_all(counts)
    counted.tell(counts)


def merged(several: Iterable[Counts]) -> Counts:
    """All of them, as one."""
    types, failed, seconds = Counter[str](), list[tuple[str, int | None]](), list[float]()
    for counts in several:
        types.update(counts.types)
        failed += counts.failed
        seconds += counts.seconds
    return Counts(types, failed, seconds)


def count_all(counts: Counts) -> None:
    """Count what was counted elsewhere."""
    for kind, number in counts.types.items():
        events.labels(kind).inc(number)
    for status, code in counts.failed:
        failures.labels(status, code or "none").inc()
    for seconds in counts.seconds:
        latency.observe(seconds)


def _status(event: NewEvent) -> str:
    return event.type.removeprefix("email.")


def _seconds_since_acceptance(event: NewEvent) -> float:
    accepted = (event.email_id.int >> 80) / 1000  # an id is a UUIDv7: it begins with the milliseconds (RFC 9562 section 5.7)
    return max(0.0, event.created_at.timestamp() - accepted)
