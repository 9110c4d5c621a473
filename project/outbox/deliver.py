"""Sending one claimed mail, and writing down what became of it. The sending holds no transaction open."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from project.bridge import database
from project.outbox.models import Email
from project.outbox.states import Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. `error` is empty if the transport took the mail."""

    error: str = ""


def stays_here() -> bool:
    """Whether mail cannot leave this machine, since the transport is the embedded mailbox."""
    return settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND


def send_email(email: Email) -> Outcome:
    """Hand one mail to the transport. Any exception is that mail's own failure, and stops no other (django-mailer#48)."""
    logger.info("Sending email %s", _described(email))
    try:
        with database.tended():  # the transport may keep its mail in the database, on this thread
            _message(email).send()
    except Exception as error:
        # The error's text may hold addresses: with a real transport it is for the database, and for debugging.
        logger.error("Email %s failed: %s", email.id, error if stays_here() else type(error).__name__)  # noqa: TRY400
        logger.debug("Why email %s failed", email.id, exc_info=True)
        return Outcome(error=f"{type(error).__name__}: {error}")
    logger.info("Email sent successfully")
    return Outcome()


def record_outcome(email: Email, outcome: Outcome, *, now: datetime) -> bool:
    """Write down what became of an attempt. False if the mail was no longer in that engine's hands."""
    mine = Email.objects.filter(id=email.id, status=Status.SENDING, claimed_by=email.claimed_by)
    changes = {"claimed_by": "", "lease_until": None, "last_error": outcome.error}
    if outcome.error:
        return bool(mine.update(status=Status.FAILED, **changes))
    return bool(mine.update(status=Status.SENT, sent_at=now, **changes))


def _message(email: Email) -> EmailMessage:
    return EmailMessage(
        subject=email.subject,
        body=email.text,
        from_email=email.sender,
        to=email.recipients,
        headers={"Message-ID": email.message_id},
        connection=get_connection(),
    )


def _described(email: Email) -> str:
    if not stays_here():
        return f"{email.id}"  # neither addresses nor texts of real mail in a log
    return f"to {', '.join(email.recipients)}: {_one_line(email.text)}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
