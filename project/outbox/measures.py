"""What this process has counted since it began, for Prometheus: one count for each event that was committed."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from prometheus_client import Counter, Histogram

from project.bridge.listeners import Listeners
from project.outbox.models import NewEvent
from project.outbox.states import Status

BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 172800)  # seconds
FAILURES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)

events = Counter("mailrail_events", "Changes of a mail's status that this process wrote down", ["type"])
failures = Counter("mailrail_failures", "Tries that failed: what became of the mail, and the reply", ["status", "smtp_code"])
latency = Histogram("mailrail_delivery_seconds", "From the acceptance of a mail to the relay's", buckets=BUCKETS)


class Fact(NamedTuple):
    """What is counted of an event: its type, the code of a reply, the seconds since the acceptance if it was sent."""

    type: str
    smtp_code: int | None
    seconds: float | None


told = Listeners[[str]]()  # what was counted, for another process to count: the text that `count_told` takes


def count(written: Iterable[NewEvent]) -> None:
    """Count events that were committed."""
    facts = [_fact(event) for event in written]
    _count(facts)
    if told.anybody_listens:
        told.tell(json.dumps(facts))


def count_told(facts: str) -> None:
    """Count what another process counted."""
    _count(Fact(*fact) for fact in json.loads(facts))


def _count(facts: Iterable[Fact]) -> None:
    for fact in facts:
        status = fact.type.removeprefix("email.")
        events.labels(fact.type).inc()
        if status in FAILURES:
            failures.labels(status, fact.smtp_code or "none").inc()
        if fact.seconds is not None:
            latency.observe(fact.seconds)


def _fact(event: NewEvent) -> Fact:
    was_sent = event.type == f"email.{Status.SENT}"
    return Fact(event.type, event.data["smtp_code"], _seconds_since_acceptance(event, event.created_at) if was_sent else None)


def _seconds_since_acceptance(event: NewEvent, now: datetime) -> float:
    accepted = (event.email_id.int >> 80) / 1000  # an id is a UUIDv7: it begins with the milliseconds (RFC 9562 section 5.7)
    return max(0.0, now.timestamp() - accepted)
