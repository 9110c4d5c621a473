"""Counts emails for the chart: each email once, in the time span of its submission, by its current status.

The counts of a chart add up to the number of submitted emails, also after retries. Emails that were not sent are counted with the
small index of their status. All others were sent, so the many sent emails are counted only as the rest of all submitted emails,
whose number in a past time span does not change and is cached.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from django.core.cache import cache

from project.emails.ids import first_id_at
from project.emails.models import Email
from project.emails.status import NOT_SENT, Status

SERIES = {
    Status.SENT: "sent",
    Status.BOUNCED: "bounced",
    Status.FAILED: "failed",
    Status.CANCELED: "other",
    Status.SUPPRESSED: "other",
    **dict.fromkeys((Status.SCHEDULED, Status.QUEUED, Status.SENDING, Status.DELAYED), "waiting"),
}
NAMES = ("sent", "waiting", "bounced", "failed", "other")
SETTLED_AFTER = timedelta(seconds=30)  # a transaction may commit an email this long after the id was created
MAX_LISTED = 10_000  # ids of one status that are read; if there are more, the database counts them bucket by bucket


@dataclass(frozen=True)
class Resolution:
    """Length and number of the chart's buckets, and the whole time span for people."""

    name: str
    bucket_length: timedelta
    bucket_count: int
    time_span: str

    def bucket_starts(self, now: datetime) -> list[datetime]:
        """Return the start of each bucket, oldest first. The last bucket contains `now`."""
        seconds = self.bucket_length.total_seconds()
        last = now.timestamp() // seconds * seconds
        return [datetime.fromtimestamp(last - seconds * back, UTC) for back in reversed(range(self.bucket_count))]


RESOLUTIONS = {
    resolution.name: resolution
    for resolution in (
        Resolution("minute", timedelta(minutes=1), 60, "last hour"),
        Resolution("hour", timedelta(hours=1), 24, "last 24 hours"),
        Resolution("day", timedelta(days=1), 30, "last 30 days"),
    )
}


@dataclass(frozen=True)
class Rates:
    """Shares of the emails that were sent, bounced or failed in the end, or None if there are no such emails."""

    sent: float | None
    bounced: float | None
    failed: float | None


def count_emails(resolution: Resolution, *, now: datetime) -> dict[datetime, dict[str, int]]:
    """Return the number of emails of each series in each bucket, by the bucket's start, oldest first."""
    starts = resolution.bucket_starts(now)
    ends = [*starts[1:], starts[-1] + resolution.bucket_length]
    bounds = [first_id_at(moment) for moment in [*starts, ends[-1]]]
    counts = [dict.fromkeys(NAMES, 0) for _ in starts]
    totals = [_count_submitted(resolution, start, end, now) for start, end in zip(starts, ends, strict=True)]
    for status in NOT_SENT:
        for index, number in _count_status(status, bounds).items():
            counts[index][SERIES[status]] += number
    for bucket, total in zip(counts, totals, strict=True):
        # While emails change their status between the queries, the sum may be too large for a moment.
        bucket["sent"] = max(0, total - sum(bucket.values()))
    return dict(zip(starts, counts, strict=True))


def final_rates(buckets: Sequence[dict[str, int]]) -> Rates:
    """Return the rates of the emails in all buckets together."""
    sums = {name: sum(bucket[name] for bucket in buckets) for name in ("sent", "bounced", "failed")}
    attempted = sum(sums.values())
    return Rates(**{name: number / attempted if attempted else None for name, number in sums.items()})


def _count_submitted(resolution: Resolution, start: datetime, end: datetime, now: datetime) -> int:
    """Return the number of emails submitted in a bucket. All but the latest emails are counted once, and then cached."""
    key = f"dashboard-submitted:{resolution.name}:{start.timestamp():.0f}"
    until, number = cache.get(key, (start, 0))
    settled = min(end, now - SETTLED_AFTER)
    if settled > until:
        number += _count_range(until, settled)
        until = settled
        cache.set(key, (until, number), (resolution.bucket_length * (resolution.bucket_count + 1)).total_seconds())
    return int(number + (_count_range(until, end) if until < end else 0))


def _count_range(start: datetime, end: datetime) -> int:
    return Email.objects.filter(id__gte=first_id_at(start), id__lt=first_id_at(end)).order_by().count()


def _count_status(status: Status, bounds: Sequence[UUID]) -> dict[int, int]:
    """Return the number of emails with this status by the index of the bucket, for buckets between consecutive `bounds`."""
    emails = Email.objects.filter(status=status)
    ids = emails.filter(id__gte=bounds[0], id__lt=bounds[-1]).order_by("-id").values_list("id", flat=True)[: MAX_LISTED + 1]
    listed = list(ids)
    if len(listed) <= MAX_LISTED:
        return Counter(bisect_right(bounds, email_id) - 1 for email_id in listed)
    ranges = enumerate(pairwise(bounds))
    return {index: emails.filter(id__gte=low, id__lt=high).order_by().count() for index, (low, high) in ranges}
