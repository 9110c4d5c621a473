"""The embedded mailbox: a Django e-mail backend that keeps what it is given in a table, to be read in the admin."""

import smtplib
import time
from collections.abc import Sequence
from email.utils import parseaddr

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from project.bridge.database.transactions import acquire_write_lock
from project.transports.models import MailboxMessage
from project.transports.raw_message import RawEmailMessage
from project.transports.simulator import SimulatedBehaviour, behaviour_for


class MailboxBackend(BaseEmailBackend):
    """For trying things out: nothing leaves this machine, and addresses at simulator.test fail as a relay's would."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Keep each message, for the recipients that it is taken for. Gives how many; raises what smtplib would."""
        return sum(self._send(message) for message in email_messages)

    def _send(self, message: EmailMessage) -> bool:
        try:
            taken = _simulate(message)
        except smtplib.SMTPException:
            if self.fail_silently:
                return False
            raise
        kept = _to_row(message, taken)
        with acquire_write_lock():
            kept.save()
        return True


def _simulate(message: EmailMessage) -> list[str]:
    """Go through what a relay would do about it. Gives the recipients that are taken."""
    attempt = message.attempt if isinstance(message, RawEmailMessage) else 1
    behaviours = {each: behaviour_for(parseaddr(each)[1], attempt) for each in message.recipients()}
    refused = {each: _smtp_reply(behaviour) for each, behaviour in behaviours.items() if behaviour.refuses}
    taken = {each: behaviour for each, behaviour in behaviours.items() if not behaviour.refuses}
    if refused and not taken:
        raise smtplib.SMTPRecipientsRefused(refused)
    time.sleep(max((behaviour.seconds for behaviour in taken.values()), default=0))
    if any(behaviour.hangs_up for behaviour in taken.values()):
        raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
    if isinstance(message, RawEmailMessage):
        message.refused = refused
    return list(taken)


def _smtp_reply(behaviour: SimulatedBehaviour) -> tuple[int, bytes]:
    return behaviour.code, behaviour.text.encode()


def _to_row(message: EmailMessage, recipients: list[str]) -> MailboxMessage:
    wire = message.message()
    return MailboxMessage(
        message_id=wire["Message-ID"],
        sender=message.from_email,
        recipients=recipients,
        subject=str(message.subject),
        text=str(message.body),
        source=wire.as_bytes(),
    )
