"""The numbers of the chart: each email once, in the time span of its submission, by its current status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from project.statistics.models import EmailCount
from project.statistics.spans import SERIES, SPANS, span_start


@dataclass(frozen=True)
class Resolution:
    """Span of time and number of the chart's buckets, and the whole time span for people."""

    name: str
    bucket_count: int
    time_span: str

    @property
    def bucket_length(self) -> timedelta:
        """Return the length of a bucket."""
        return SPANS[self.name]

    def bucket_starts(self, now: datetime) -> list[datetime]:
        """Return the start of each bucket, oldest first. The last bucket contains `now`."""
        last = span_start(self.name, now)
        return [last - self.bucket_length * back for back in reversed(range(self.bucket_count))]


RESOLUTIONS = {
    resolution.name: resolution
    for resolution in (
        Resolution("minute", 60, "last hour"),
        Resolution("hour", 24, "last 24 hours"),
        Resolution("day", 30, "last 30 days"),
    )
}


@dataclass(frozen=True)
class Rates:
    """Shares of the emails that were sent, bounced or failed in the end, or None if there are no such emails."""

    sent: float | None
    bounced: float | None
    failed: float | None


def read_counts(resolution: Resolution, *, now: datetime) -> dict[datetime, dict[str, int]]:
    """Return the number of emails of each series in each bucket, by the bucket's start, oldest first."""
    starts = resolution.bucket_starts(now)
    counts = {start: dict.fromkeys(SERIES, 0) for start in starts}
    stored = EmailCount.objects.filter(span=resolution.name, start__gte=starts[0], start__lte=starts[-1])
    for start, *numbers in stored.values_list("start", *SERIES):
        # Rows that were deleted by other means than Mailrail's own are missing in the numbers.
        counts[start] = {name: max(0, number) for name, number in zip(SERIES, numbers, strict=True)}
    return counts


def final_rates(buckets: Sequence[dict[str, int]]) -> Rates:
    """Return the rates of the emails in all buckets together."""
    sums = {name: sum(bucket[name] for bucket in buckets) for name in ("sent", "bounced", "failed")}
    attempted = sum(sums.values())
    return Rates(**{name: number / attempted if attempted else None for name, number in sums.items()})
