"""Counts for the queue metrics, read from partial indexes that stay small no matter how many emails were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.status import NOT_SENT, Status


@dataclass(frozen=True)
class QueueStats:
    """Numbers of emails by status (except `sent`), submission time of the oldest queued email, and whether delivery is paused."""

    counts_by_status: Mapping[str, int]
    oldest_queued_at: datetime | None
    is_relay_paused: bool


def read_queue_stats() -> QueueStats:
    """Return the current counts."""
    counts = {status.value: Email.objects.filter(status=status).count() for status in NOT_SENT}
    oldest = Email.objects.filter(status=Status.QUEUED).order_by("id").values_list("created_at", flat=True).first()
    return QueueStats(counts, oldest, RelayOutage.objects.exists())
