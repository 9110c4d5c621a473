"""What is said of a mail when its status changes: one event for each change, in the transaction of the change."""

from collections.abc import Iterable
from datetime import datetime

from project.outbox.models import Email, Event


def record_events(emails: Iterable[Email], *, now: datetime, response: str = "") -> None:
    """Write down the status that each of these has now. `response` is what the relay said."""
    Event.objects.bulk_create([_event(email, now, response) for email in emails])


def _event(email: Email, now: datetime, response: str) -> Event:
    data = {
        "email_id": str(email.id),
        "status": email.status,
        "to": email.recipients,
        "subject": email.subject,
        "tags": email.tags,
        "attempt": email.attempts,
        "response": response,
    }
    return Event(email=email, type=f"email.{email.status}", created_at=now, data=data)
