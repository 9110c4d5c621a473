"""What is said of a mail when its status changes: one event for each change, in the transaction of the change."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connection, transaction

from project.bridge.listeners import Listeners
from project.outbox.bulk import insert
from project.outbox.measures import count
from project.outbox.models import Email, Event, NewEvent
from project.outbox.replies import Reply
from project.outbox.states import Status

committed = Listeners[[]]()  # that there may be new events; told on any thread
queued = Listeners[[]]()  # that a mail is due, or will be: who delivers must look; likewise
EVENTS, QUEUE = "events", "queue"  # the hints to other processes that are the same
FOR_THE_ENGINE = {f"email.{Status.QUEUED}", f"email.{Status.SCHEDULED}"}
ORDER_LOCK = 0x6D61696C7261696C  # any number that nobody else takes


def record_events(emails: Iterable[Email], *, now: datetime) -> None:
    """Write down the status that each of these has now. The last thing that a transaction does: see `write_events`."""
    write_events([event_of(email, now=now) for email in emails])


def write_events(events: Sequence[NewEvent]) -> None:
    """Write events down, and say so once they are committed. The last thing that a transaction does.

    Their ids are in the order of the commits, so that who has read up to one has missed none. On PostgreSQL, where ids are given
    out before the commit, whoever writes events waits until whoever did so before has committed. SQLite has one writer anyway.
    """
    if not events:
        return
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ORDER_LOCK])
    insert(Event, [vars(event) for event in events])
    transaction.on_commit(committed.tell, robust=True)  # it is a hint: what was committed stands
    if any(event.type in FOR_THE_ENGINE for event in events):
        tell_the_engine()
    transaction.on_commit(partial(count, events), robust=True)


def tell_the_engine() -> None:
    """Once this transaction is committed, say that a mail is due, or is due at another time than it was."""
    transaction.on_commit(queued.tell, robust=True)


def event_of(  # noqa: PLR0913  # what there is to say
    email: Email,
    *,
    now: datetime,
    status: str | None = None,
    attempt: int | None = None,
    reply: Reply | None = None,
    dialogue: str = "",
    more: Mapping[str, Any] | None = None,
) -> NewEvent:
    """That a mail has a status, its own if none is named; what the relay said, and the SMTP conversation of the try."""
    status = email.status if status is None else status
    data = {
        "email_id": str(email.id),
        "status": status,
        "to": email.recipients,
        "subject": email.subject,
        "tags": email.tags,
        "attempt": email.attempts if attempt is None else attempt,
        "smtp_code": reply.code if reply else None,
        "response": reply.text if reply else None,
        **(more or {}),
    }
    return NewEvent(email.id, email.caller, f"email.{status}", now, data, dialogue)
