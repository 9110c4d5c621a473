"""What is on its way, counted by indexes that have few entries, however many mails were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.status import NOT_SENT, Status


@dataclass(frozen=True)
class QueueStats:
    """Mails by status (all but `sent`), since when the oldest queued one waits, and whether a relay is given a pause."""

    mails: Mapping[str, int]
    waits_since: datetime | None
    is_paused: bool


def read_queue_stats() -> QueueStats:
    """How it stands now."""
    mails = {status.value: Email.objects.filter(status=status).count() for status in NOT_SENT}
    oldest = Email.objects.filter(status=Status.QUEUED).order_by("id").values_list("created_at", flat=True).first()
    return QueueStats(mails, oldest, RelayOutage.objects.exists())
