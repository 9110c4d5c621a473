"""What is said of a mail when its status changes: one event for each change, in the transaction of the change."""

from collections.abc import Iterable
from datetime import datetime

from project.outbox.models import Email, Event
from project.outbox.replies import Reply


def record_events(emails: Iterable[Email], *, now: datetime, reply: Reply | None = None) -> None:
    """Write down the status that each of these has now, and what the relay said."""
    Event.objects.bulk_create([_event(email, now, reply) for email in emails])


def _event(email: Email, now: datetime, reply: Reply | None) -> Event:
    data = {
        "email_id": str(email.id),
        "status": email.status,
        "to": email.recipients,
        "subject": email.subject,
        "tags": email.tags,
        "attempt": email.attempts,
        "smtp_code": reply.code if reply else None,
        "response": reply.text if reply else None,
    }
    return Event(email=email, type=f"email.{email.status}", created_at=now, data=data)
