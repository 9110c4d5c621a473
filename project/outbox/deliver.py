"""Sending one claimed mail, and writing down what became of it. The sending holds no transaction open."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend

from project.bridge import database
from project.outbox.events import record_events
from project.outbox.models import Email
from project.outbox.replies import Reply, reply_of
from project.outbox.retry import Fault, fault_of, next_attempt
from project.outbox.states import Status
from project.outbox.transports.stored import StoredMessage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. `error` is empty if the transport took the mail, else `fault` says whose it is.

    `reply` is what the relay said, if it said anything.
    """

    error: str = ""
    fault: Fault = Fault.MESSAGE_PERMANENT
    reply: Reply | None = None


def stays_here() -> bool:
    """Whether mail cannot leave this machine, since the transport is the embedded mailbox."""
    return settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND


def send_email(email: Email) -> Outcome:
    """Hand one mail to the transport. Any exception is that mail's own failure, and stops no other (django-mailer#48).

    Unless no conversation comes about at all: that is the relay's failure, and no mail's.
    """
    logger.info("Sending email %s", _described(email))
    try:
        with database.tended():  # the transport may keep its mail in the database, on this thread
            connection = get_connection()
            if (error := _opening_error(connection)) is not None:
                return _failed(email, error, Fault.RELAY)
            try:
                StoredMessage(email, connection).send()
            finally:
                connection.close()
    except Exception as error:  # noqa: BLE001  # whatever it is, it fails this mail alone
        return _failed(email, error, fault_of(error))
    logger.info("Email sent successfully")
    return Outcome()


def _opening_error(connection: BaseEmailBackend) -> OSError | None:
    try:
        connection.open()
    except OSError as error:  # smtplib's own are OSErrors too
        return error
    return None


def _failed(email: Email, error: Exception, fault: Fault) -> Outcome:
    # The error's text may hold addresses: with a real transport it is for the database, and for debugging.
    logger.error("Email %s failed: %s", email.id, error if stays_here() else type(error).__name__)
    logger.debug("Why email %s failed", email.id, exc_info=error)
    return Outcome(error=f"{type(error).__name__}: {error}", fault=fault, reply=reply_of(error))


def record_outcome(email: Email, outcome: Outcome, *, now: datetime, jitter: float = 0.5) -> bool:
    """Write down what became of an attempt. False if the mail was no longer in that engine's hands."""
    mine = Email.objects.filter(id=email.id, status=Status.SENDING, claimed_by=email.claimed_by)
    changes = _changes(outcome, attempts=email.attempts, now=now, jitter=jitter)
    if not mine.update(claimed_by="", lease_until=None, last_error=outcome.error, **changes):
        return False
    record_events([Email.objects.get(id=email.id)], now=now, reply=outcome.reply)
    return True


def _changes(outcome: Outcome, *, attempts: int, now: datetime, jitter: float) -> dict[str, Any]:
    if not outcome.error:
        return {"status": Status.SENT, "sent_at": now}
    if outcome.fault == Fault.RELAY:
        return {"status": Status.QUEUED, "attempts": attempts - 1}  # no mail would have gone: this was not one of its chances
    asked = outcome.reply.asks_to_wait if outcome.reply else None
    at = next_attempt(attempts=attempts, now=now, asked=asked, jitter=jitter)
    if outcome.fault == Fault.MESSAGE_TRANSIENT and at is not None:
        return {"status": Status.DELAYED, "next_attempt_at": at}
    return {"status": Status.FAILED}


def _described(email: Email) -> str:
    if not stays_here():
        return f"{email.id}"  # neither addresses nor texts of real mail in a log
    return f"to {', '.join(email.recipients)}: {_one_line(email.text)}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
