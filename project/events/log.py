"""The event log: one event for each status change of an email, written in the transaction that makes the change."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.db import transaction

from project.bridge.database.bulk_insert import bulk_insert
from project.bridge.notifications.local import LocalSignal
from project.events.commit_order import writer_announcement
from project.events.models import Event, NewEvent
from project.metrics.counters import StatusChange, count_events

# Both signals are sent after the commit, from any thread.
events_committed = LocalSignal[[]]()  # there may be new events
email_queued = LocalSignal[[]]()  # an email is due, or its due time changed: the delivery worker must poll
urgent_email_queued = LocalSignal[[]]()  # in addition: an email with high priority was submitted
EVENTS_TOPIC, QUEUE_TOPIC = "events", "queue"  # topics that carry these two signals between processes
WAKING_TYPES = frozenset({"email.queued", "email.scheduled"})


class EmailLike(Protocol):
    """The attributes of an email that its events need."""

    @property
    def id(self) -> UUID: ...
    @property
    def owner(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def recipients(self) -> Any: ...
    @property
    def subject(self) -> str: ...
    @property
    def tags(self) -> Any: ...
    @property
    def attempts(self) -> int: ...
    @property
    def pending_recipients(self) -> Sequence[str]: ...
    @property
    def scheduled_at(self) -> datetime | None: ...


def record_status_events(emails: Iterable[EmailLike], *, now: datetime) -> None:
    """Append an event with the current status of each email. Must be the last step of a transaction (see `append_events`)."""
    append_events([build_event(email, now=now) for email in emails])


def append_events(events: Sequence[NewEvent]) -> None:
    """Write events, and announce them after the commit. Must be the last step of a transaction.

    Readers wait for the commit before they read events with greater ids, so a client that has read up to an id has missed no
    event: see project.events.commit_order.
    """
    if not events:
        return
    bulk_insert(Event, [vars(event) for event in events], first=writer_announcement())
    transaction.on_commit(events_committed.send, robust=True)  # robust: a subscriber's error must not look like a failed commit
    if any(event.type in WAKING_TYPES for event in events):
        wake_worker_on_commit()
    transaction.on_commit(partial(_count, events), robust=True)


def wake_worker_on_commit() -> None:
    """Wake the delivery worker after the commit, because an email is due or its due time changed."""
    transaction.on_commit(email_queued.send, robust=True)


def build_event(  # noqa: PLR0913  # the fields of an event
    email: EmailLike,
    *,
    now: datetime,
    status: str | None = None,
    result: str | None = None,
    recipients: Sequence[str] | None = None,
    attempt: int | None = None,
    smtp_code: int | None = None,
    response: str | None = None,
    smtp_transcript: str = "",
    extra: Mapping[str, Any] | None = None,
) -> NewEvent:
    """Build an event. `status` and `attempt` default to the email's values; `smtp_code` and `response` are the relay's reply.

    `result` is what happened to `recipients`, if it differs from the email's status. By default, an event is about the recipients
    without a final result. They are named only if they are not all recipients.
    """
    status = email.status if status is None else status
    about = (recipients if recipients is not None else email.pending_recipients) or email.recipients
    data = {
        "email_id": str(email.id),
        "status": status,
        "to": email.recipients,
        "subject": email.subject,
        "tags": email.tags,
        "attempt": email.attempts if attempt is None else attempt,
        "smtp_code": smtp_code,
        "response": response,
        **({"recipients": list(about)} if len(about) < len(email.recipients) else {}),
        **(extra or {}),
    }
    return NewEvent(email.id, email.owner, f"email.{result or status}", now, data, smtp_transcript, email.scheduled_at)


def _count(events: Sequence[NewEvent]) -> None:
    count_events(
        StatusChange(event.type.removeprefix("email."), event.data["smtp_code"], _delivery_seconds(event), event.data["response"])
        for event in events
    )


def _delivery_seconds(event: NewEvent) -> float:
    """Return how long a sent email was due: since its submission or, if that is later, its scheduled time."""
    if event.type != "email.sent":
        return 0.0
    submitted_at = (event.email_id.int >> 80) / 1000  # a UUIDv7 begins with its time in milliseconds (RFC 9562 section 5.7)
    due_at = max(submitted_at, event.scheduled_at.timestamp()) if event.scheduled_at else submitted_at
    return max(0.0, event.created_at.timestamp() - due_at)
