"""The spans of time by which emails are counted, and the series of a chart that a status belongs to. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from project.emails.status import Status

SERIES_BY_STATUS = {
    Status.SENT: "sent",
    Status.BOUNCED: "bounced",
    Status.FAILED: "failed",
    Status.CANCELED: "other",
    Status.SUPPRESSED: "other",
    **dict.fromkeys((Status.SCHEDULED, Status.QUEUED, Status.SENDING, Status.DELAYED), "waiting"),
}
SERIES = ("sent", "waiting", "bounced", "failed", "other")
SPANS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
# How long the numbers of a span are kept: longer than a chart shows them.
KEPT = {"minute": timedelta(hours=2), "hour": timedelta(days=2), "day": timedelta(days=32)}
KEPT_LONGEST = max(KEPT.values())

Bucket = tuple[str, datetime]  # a span and its start


def span_start(span: str, moment: datetime) -> datetime:
    """Return the start of the minute, hour or day (UTC) that contains the moment."""
    seconds = SPANS[span].total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def submitted_in(email_id: UUID) -> datetime:
    """Return the minute in which an email was submitted. A UUIDv7 begins with its time in milliseconds (RFC 9562 section 5.7)."""
    return datetime.fromtimestamp((email_id.int >> 80) // 60_000 * 60, UTC)


def buckets(minute: datetime, *, now: datetime) -> Iterator[Bucket]:
    """Yield the minute, the hour and the day that contain a minute, without those whose numbers are no longer kept."""
    for span, period in KEPT.items():
        start = span_start(span, minute)
        if start >= now - period:
            yield span, start
