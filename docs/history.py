"""An hour of mail that never was, for the pictures. Needs Django to be set up."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import transaction

from project.emails.models import Email
from project.emails.submit import submit_text_message
from project.events.models import Event

SUBJECTS = ("Your order is on its way", "Welcome aboard", "Your code", "Your invoice for November", "Reset your password")
REPLIES = {
    "bounced": ("550 5.1.1 No such user", "550 5.7.1 Message refused by policy"),
    "delayed": ("421 4.7.0 Too many connections", "451 4.7.1 Greylisted"),
}
HOUR = 60  # minutes


def write_an_hour() -> None:
    """Write mails and their events, in the order in which they happened."""
    chance = random.Random(7)  # noqa: S311  # the same hour each time
    began = datetime.now(UTC) - timedelta(minutes=HOUR)
    for minute in range(HOUR):
        many = round(9 + 6 * math.sin(minute / 7) + 3 * chance.random())
        for second in sorted(chance.uniform(0, 59) for _ in range(many)):
            _write(began + timedelta(minutes=minute, seconds=second), chance)


def write_failed(many: int) -> None:
    """Write mails that failed a day ago, and can be sent now."""
    at, error = datetime.now(UTC) - timedelta(days=1), "554 5.3.0 The relay was misconfigured"
    for number in range(many):
        with transaction.atomic():  # an engine never sees it queued
            email_id = submit_text_message(
                address="ada@example.com", text=f"Your order {4000 + number} is on its way\nHello Ada."
            )
            Email.objects.filter(id=email_id).update(status="failed", created_at=at, attempts=8, last_error=error)
            Event.objects.filter(email_id=email_id).update(type="email.failed", created_at=at)


def _write(at: datetime, chance: random.Random) -> None:
    status = chance.choices(["sent", "delayed", "bounced"], [92, 4, 4])[0]
    address = f"{chance.choice(['ada', 'grace', 'alan', 'edsger', 'barbara'])}@example.com"
    email = Email.objects.create(
        created_at=at,
        status=status,
        sender="Shop <shop@example.com>",
        to=[address],
        recipients=[address],
        subject=chance.choice(SUBJECTS),
        message_id="<1@example.com>",
        attempts=1,
        last_error=chance.choice(REPLIES.get(status, ("",))),
    )
    for happened, after in _steps(status, chance):
        data = {
            "email_id": str(email.id),
            "status": happened,
            "to": [address],
            "subject": email.subject,
            "tags": {},
            "attempt": 1,
        }
        Event.objects.create(email=email, type=f"email.{happened}", created_at=at + after, data=data)


def _steps(status: str, chance: random.Random) -> Iterator[tuple[str, timedelta]]:
    taken = timedelta(milliseconds=chance.lognormvariate(4.6, 0.8))
    yield from (("queued", timedelta()), ("sending", taken / 10), (status, taken))
