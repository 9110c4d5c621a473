"""Marks emails as sent that a restored backup still has in its queue, although they were sent after the backup was made."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import F, Value
from django.db.models.functions import Coalesce

from project.bridge.database.transactions import call_in_transaction
from project.delivery.record_results import RELEASED
from project.emails.models import Email
from project.emails.status import FINAL, Status
from project.events.log import append_events, build_event

BATCH_SIZE = 200  # emails of one transaction
RESPONSE = "Marked as sent by manage.py mark_sent"  # instead of the relay's reply
ID_OR_MESSAGE_ID = re.compile(r"<?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:@[^\s<>@]+)?>?", re.IGNORECASE)


@dataclass
class Marked:
    """Numbers of emails: those that were marked, those that had a final status already, and ids that no email has."""

    sent: int = 0
    final: int = 0
    unknown: int = 0


def sent_email_ids(lines: Iterable[str]) -> Iterator[UUID]:
    """Yield the ids of sent emails in a log with LOG_FORMAT=json, or in lines with only an id or a Message-ID.

    All other lines are ignored, because a log has many of them.
    """
    for line in lines:
        _prefix, brace, fields = line.partition("{")  # `docker compose logs` writes a prefix
        match = ID_OR_MESSAGE_ID.fullmatch(_logged_id(brace + fields) if brace else line.strip())
        if match:
            yield UUID(match[1])


def mark_sent(ids: Iterable[UUID], *, now: datetime) -> Marked:
    """Give the unfinished emails among `ids` the status `sent`, with an event, batch by batch. Can be repeated."""
    marked = Marked()
    remaining = iter(ids)
    while batch := set(islice(remaining, BATCH_SIZE)):
        call_in_transaction(_mark_batch, batch, marked, now)
    return marked


def _logged_id(entry: str) -> str:
    """Return the email's id if the entry logs that an email was sent, otherwise an empty string."""
    try:
        fields = json.loads(entry)
    except (ValueError, RecursionError):
        return ""
    return str(fields.get("email_id")) if fields.get("status") == Status.SENT else ""


def _mark_batch(ids: set[UUID], marked: Marked, now: datetime) -> None:
    emails = list(Email.objects.select_for_update().filter(id__in=ids).order_by("id"))
    unfinished = [email for email in emails if email.status not in FINAL]
    _update(unfinished, now)
    append_events([build_event(email, now=now, status=Status.SENT, response=RESPONSE) for email in unfinished])
    marked.sent += len(unfinished)
    marked.final += len(emails) - len(unfinished)
    marked.unknown += len(ids) - len(emails)


def _update(emails: Sequence[Email], now: datetime) -> None:
    changes: dict[str, Any] = {"status": Status.SENT, "next_attempt_at": None, "last_error": "", "reason": None, **RELEASED}
    Email.objects.filter(id__in=[email.id for email in emails]).update(sent_at=Coalesce(F("sent_at"), Value(now)), **changes)
