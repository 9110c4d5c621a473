"""What is on its way, counted by indexes that have few entries, however many mails were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from project.outbox.models import Email, Pause
from project.outbox.states import PASSING, Status


@dataclass(frozen=True)
class Backlog:
    """Mails by status (all but `sent`), since when the oldest queued one waits, and whether a relay is given a pause."""

    mails: Mapping[str, int]
    waits_since: datetime | None
    is_paused: bool


def backlog() -> Backlog:
    """How it stands now."""
    mails = {status.value: Email.objects.filter(status=status).count() for status in PASSING}
    oldest = Email.objects.filter(status=Status.QUEUED).order_by("id").values_list("created_at", flat=True).first()
    return Backlog(mails, oldest, Pause.objects.exists())
