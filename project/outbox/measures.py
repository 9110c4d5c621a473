"""What this process has counted since it began, for Prometheus: one count for each event that was committed."""

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import Counter, Histogram

from project.outbox.models import NewEvent
from project.outbox.states import Status

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 172800)  # seconds
FAILURES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)

events = Counter("mailrail_events", "Changes of a mail's status that this process wrote down", ["type"])
failures = Counter("mailrail_failures", "Tries that failed: what became of the mail, and the reply", ["status", "smtp_code"])
latency = Histogram("mailrail_delivery_seconds", "From the acceptance of a mail to the relay's", buckets=BUCKETS)


def count(written: Iterable[NewEvent]) -> None:
    """Count events that were committed."""
    for event in written:
        status = event.type.removeprefix("email.")
        events.labels(event.type).inc()
        if status in FAILURES:
            failures.labels(status, event.data["smtp_code"] or "none").inc()
        if status == Status.SENT:
            latency.observe(_seconds_since_acceptance(event, event.created_at))


def _seconds_since_acceptance(event: NewEvent, now: datetime) -> float:
    accepted = (event.email_id.int >> 80) / 1000  # an id is a UUIDv7: it begins with the milliseconds (RFC 9562 section 5.7)
    return max(0.0, now.timestamp() - accepted)
