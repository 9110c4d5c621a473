"""Sample data for the screenshots: an hour of emails that were never sent. Django must be set up before the import."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from project.emails.failure_reason import failure_reason
from project.emails.models import Email
from project.emails.submit import plain_text_email, prepare_email, submit_batch
from project.events.models import Event

SUBJECTS = ("Your order is on its way", "Welcome aboard", "Your code", "Your invoice for November", "Reset your password")
REPLIES = {
    "bounced": ("550 5.1.1 No such user", "550 5.7.1 Message refused by policy"),
    "delayed": ("421 4.7.0 Too many connections", "451 4.7.1 Greylisted"),
}
MINUTES = 60


def create_past_hour() -> None:
    """Create the emails of the past hour with their events, in the order of the events' times."""
    rng = random.Random(7)  # noqa: S311  # a fixed seed: the same data for every run
    start = datetime.now(UTC) - timedelta(minutes=MINUTES)
    for minute in range(MINUTES):
        count = round(9 + 6 * math.sin(minute / 7) + 3 * rng.random())
        for second in sorted(rng.uniform(0, 59) for _ in range(count)):
            _create_email(start + timedelta(minutes=minute, seconds=second), rng)


def create_failed_emails(count: int) -> None:
    """Create emails that failed a day ago and that the embedded mailbox accepts when they are retried."""
    failed_at, error = datetime.now(UTC) - timedelta(days=1), "554 5.3.0 The relay was misconfigured"
    for number in range(count):
        with transaction.atomic():  # so that no worker sees the email while it is queued
            new_email = plain_text_email(address="ada@example.com", text=f"Your order {4000 + number} is on its way\nHello Ada.")
            prepared = prepare_email(new_email, now=failed_at)
            email_id = prepared.email.id = _id_at(failed_at)
            submit_batch([prepared])
            Email.objects.filter(id=email_id).update(
                status="failed", created_at=failed_at, attempts=8, last_error=error, reason=failure_reason(error, [])
            )
            event = Event.objects.get(email_id=email_id)
            event.type, event.created_at, event.data = "email.failed", failed_at, event.data | {"status": "failed"}
            event.save()


def _create_email(created_at: datetime, rng: random.Random) -> None:
    status = rng.choices(["sent", "delayed", "bounced"], [92, 4, 4])[0]
    address = f"{rng.choice(['ada', 'grace', 'alan', 'edsger', 'barbara'])}@example.com"
    error = rng.choice(REPLIES.get(status, ("",)))
    email = Email.objects.create(
        id=_id_at(created_at),
        created_at=created_at,
        status=status,
        sender="Shop <shop@example.com>",
        to=[address],
        recipients=[address],
        subject=rng.choice(SUBJECTS),
        message_id="<1@example.com>",
        attempts=1,
        last_error=error,
        reason=failure_reason(error, [address]) if error else None,
    )
    for event_status, delay in _event_times(status, rng):
        data = {
            "email_id": str(email.id),
            "status": event_status,
            "to": [address],
            "subject": email.subject,
            "tags": {},
            "attempt": 1,
        }
        Event.objects.create(email=email, type=f"email.{event_status}", created_at=created_at + delay, data=data)


def _id_at(time: datetime) -> UUID:
    return uuid7(nanoseconds=int(time.timestamp() * 1e9))  # the dashboard counts emails by the times in their ids


def _event_times(status: str, rng: random.Random) -> Iterator[tuple[str, timedelta]]:
    """Yield the status of each event of an email, and the event's delay after the submission."""
    duration = timedelta(milliseconds=rng.lognormvariate(4.6, 0.8))
    yield from (("queued", timedelta()), ("sending", duration / 10), (status, duration))
