"""What is said of a mail when its status changes: one event for each change, in the transaction of the change."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from project.outbox.models import Email, Event
from project.outbox.replies import Reply


def record_events(emails: Iterable[Email], *, now: datetime) -> None:
    """Write down the status that each of these has now."""
    Event.objects.bulk_create([event_of(email, now=now) for email in emails])


def event_of(
    email: Email, *, now: datetime, reply: Reply | None = None, dialogue: str = "", more: Mapping[str, Any] | None = None
) -> Event:
    """That a mail has the status it has now; what the relay said, and the SMTP conversation of the try that this ends."""
    data = {
        "email_id": str(email.id),
        "status": email.status,
        "to": email.recipients,
        "subject": email.subject,
        "tags": email.tags,
        "attempt": email.attempts,
        "smtp_code": reply.code if reply else None,
        "response": reply.text if reply else None,
        **(more or {}),
    }
    return Event(email=email, type=f"email.{email.status}", created_at=now, data=data, dialogue=dialogue)
