"""The embedded mailbox: a Django e-mail backend that keeps what it is given in a table, to be read in the admin."""

from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from project.bridge import database
from project.outbox.models import MailboxMessage


class MailboxBackend(BaseEmailBackend):
    """For trying things out: nothing leaves this machine."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Keep each message. Gives how many."""
        messages = [_kept(message) for message in email_messages]
        with database.turn():
            return len(MailboxMessage.objects.bulk_create(messages))


def _kept(message: EmailMessage) -> MailboxMessage:
    wire = message.message()
    return MailboxMessage(
        message_id=wire["Message-ID"],
        sender=message.from_email,
        recipients=message.recipients(),
        subject=str(message.subject),
        text=str(message.body),
        source=wire.as_bytes(),
    )
