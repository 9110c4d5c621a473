"""The most frequent reasons of recent failures, with the number of all emails that have each reason."""

from collections import Counter
from dataclasses import dataclass

from project.emails.models import Email
from project.emails.status import Status

FAILURE_STATUSES = (Status.DELAYED, Status.FAILED, Status.BOUNCED)
SAMPLE_SIZE = 500  # most recent emails of each failure status
MAX_REASONS = 5
MAX_COUNTED = 10_000  # emails of one reason


@dataclass(frozen=True)
class ReasonCount:
    """A reason, and the number of emails with this reason, at most `MAX_COUNTED` + 1."""

    reason: str
    emails: int

    @property
    def label(self) -> str:
        """Return the number for people: exact, or "10,000+"."""
        return f"{self.emails:,}" if self.emails <= MAX_COUNTED else f"{MAX_COUNTED:,}+"


def top_reasons() -> list[ReasonCount]:
    """Return the most frequent reasons, the most frequent first. Each query reads a bounded part of an index."""
    frequent: Counter[str] = Counter()
    failed = [Email.objects.filter(status=status, reason__isnull=False) for status in (*FAILURE_STATUSES, Status.SENT)]
    for emails in failed:
        frequent.update(str(reason) for reason in emails.order_by("-id").values_list("reason", flat=True)[:SAMPLE_SIZE])
    counts = [_count(reason) for reason, _ in frequent.most_common(MAX_REASONS)]
    return sorted(counts, key=lambda count: -count.emails)


def _count(reason: str) -> ReasonCount:
    emails = Email.objects.filter(reason=reason).order_by("-id").values("pk")
    return ReasonCount(reason, emails[: MAX_COUNTED + 1].count())
