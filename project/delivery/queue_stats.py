"""Counts for the queue metrics, read from partial indexes that stay small no matter how many emails were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from project.delivery.models import RelayOutage
from project.delivery.readiness import oldest_due_at
from project.emails.models import Email
from project.emails.status import NOT_SENT


@dataclass(frozen=True)
class QueueStats:
    """Numbers of emails by status (except `sent`), since when the oldest email is due, and whether delivery is paused."""

    counts_by_status: Mapping[str, int]
    oldest_due_at: datetime | None
    is_relay_paused: bool


def read_queue_stats() -> QueueStats:
    """Return the current counts."""
    counts = {status.value: Email.objects.filter(status=status).count() for status in NOT_SENT}
    return QueueStats(counts, oldest_due_at(now=timezone.now()), RelayOutage.objects.exists())
