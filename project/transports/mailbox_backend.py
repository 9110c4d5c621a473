"""The embedded mailbox: a Django email backend that stores messages in a table, to be read in the admin."""

import smtplib
import time
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction

from project.bridge.database.transactions import acquire_write_lock
from project.emails.subject_words import split_words
from project.transports.models import MAX_TERM_LENGTH, MailboxMessage, MailboxTerm
from project.transports.raw_message import RawEmailMessage
from project.transports.simulator import SimulatedBehavior, behavior_for


class MailboxBackend(BaseEmailBackend):
    """Email backend for trials. No email leaves this machine. Simulates a relay's replies for addresses at simulator.test."""

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.fail_silently = fail_silently  # the base class of Django 6.1 no longer has this attribute

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Store each message for its accepted recipients. Return the number of stored messages.

        Raises the same exceptions as smtplib.
        """
        return sum(self._send(message) for message in email_messages)

    def _send(self, message: EmailMessage) -> bool:
        try:
            accepted = _simulate(message)
        except smtplib.SMTPException:
            if self.fail_silently:
                return False
            raise
        row = _to_row(message, accepted)
        with acquire_write_lock(), transaction.atomic():
            row.save()
            MailboxTerm.objects.bulk_create(MailboxTerm(term=term, message=row) for term in search_terms(row))
        return True


def _simulate(message: EmailMessage) -> list[str]:
    """Simulate how a relay responds to the recipients of the message.

    Return the accepted recipients, or raise smtplib's exception.
    """
    attempt = message.attempt if isinstance(message, RawEmailMessage) else 1
    behaviors = {each: behavior_for(parseaddr(each)[1], attempt) for each in message.recipients()}
    rejected = {each: _smtp_reply(behavior) for each, behavior in behaviors.items() if behavior.rejects}
    accepted = {each: behavior for each, behavior in behaviors.items() if not behavior.rejects}
    if rejected and not accepted:
        raise smtplib.SMTPRecipientsRefused(rejected)
    time.sleep(max((behavior.seconds for behavior in accepted.values()), default=0))
    if any(behavior.disconnects for behavior in accepted.values()):
        raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
    if isinstance(message, RawEmailMessage):
        message.rejected = rejected
    return list(accepted)


def _smtp_reply(behavior: SimulatedBehavior) -> tuple[int, bytes]:
    return behavior.code, behavior.text.encode()


def _to_row(message: EmailMessage, recipients: list[str]) -> MailboxMessage:
    mime = message.message()
    return MailboxMessage(
        message_id=mime["Message-ID"],
        sender=message.from_email,
        recipients=recipients,
        subject=str(message.subject),
        text=str(message.body),
        source=mime.as_bytes(),
    )


def search_terms(message: MailboxMessage) -> list[str]:
    """Return the terms that find a message: the words of its subject, and its recipients' addresses after an `@`."""
    addresses = {f"@{parseaddr(recipient)[1].lower()}"[:MAX_TERM_LENGTH] for recipient in message.recipients}
    return [*split_words(message.subject), *sorted(addresses)]
