"""The most frequent reasons of recent failures, with the number of all emails that have each reason."""

from collections import Counter
from dataclasses import dataclass

from project.emails.models import Email
from project.emails.row_counts import RowCount, read_columns
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
    """Return the most frequent reasons, the most frequent first. The two statements read bounded parts of indexes."""
    failed = [Email.objects.filter(status=status, reason__isnull=False) for status in (*FAILURE_STATUSES, Status.SENT)]
    recent = [Email.objects.filter(pk__in=emails.order_by("-id").values("pk")[:SAMPLE_SIZE]) for emails in failed]
    first, *others = (emails.order_by().values_list("reason", flat=True) for emails in recent)
    frequent = Counter(str(reason) for reason in first.union(*others, all=True).order_by())
    reasons = [reason for reason, _number in frequent.most_common(MAX_REASONS)]
    emails_by_reason = [Email.objects.filter(reason=reason) for reason in reasons]
    numbers = read_columns([RowCount(emails, MAX_COUNTED + 1) for emails in emails_by_reason]) or ()
    counts = [ReasonCount(reason, number) for reason, number in zip(reasons, numbers, strict=True)]
    return sorted(counts, key=lambda count: -count.emails)
