"""Any Django e-mail backend as a transport: the embedded mailbox, django-anymail's for SES, Mailgun, Postmark …

Backends are synchronous, and may wait long for a network: they run on threads of their own.
"""

from contextlib import closing
from dataclasses import replace
from typing import Any

from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import connections

from project.bridge import database
from project.bridge.threads import Threads
from project.outbox.models import Email
from project.outbox.outcomes import Outcome
from project.outbox.replies import refusals_of
from project.outbox.retry import Fault, fault_of
from project.outbox.transports.base import failed
from project.outbox.transports.stored import AS_GIVEN, StoredMessage


class NothingSentError(Exception):
    """What a backend tells by its count alone."""


class DjangoTransport:
    """Sends through the backend of Django's settings, by `channels` threads."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._threads = Threads("sender", channels, on_leave=connections.close_all)

    def channel(self) -> "DjangoChannel":
        """A new channel."""
        return DjangoChannel(self._threads)

    def close(self) -> None:
        """Let the threads go once they have done what they were given."""
        self._threads.close(timeout=0)


class DjangoChannel:
    """One of the threads; it has no connection of its own, since a backend is made for a mail."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    is_open = is_connecting = False

    async def send(self, email: Email) -> Outcome:
        """Hand over one mail."""
        return await self._threads.run(send_through_backend, email)

    async def close(self) -> None:
        """Nothing is kept open."""


def send_through_backend(email: Email) -> Outcome:
    """Hand one mail to Django's backend. Any exception is that mail's own failure, and stops no other (django-mailer#48).

    Unless no conversation comes about at all: that is the relay's failure, or the database's, and no mail's.
    """
    try:
        with database.tended():  # the backend may keep its mail in the database, on this thread
            email.refresh_from_db(fields=email.get_deferred_fields() & AS_GIVEN)
            connection = get_connection()
            if (error := _opening_error(connection)) is not None:
                return failed(error, Fault.RELAY)
            with closing(connection):
                message = StoredMessage(email, connection, recipients=email.pending)
                _heed_refusals(connection, message)
                return _send(message)
    except database.AWAY as error:  # nothing was sent: what fails in a backend that sends is told by `_send`
        return failed(error, Fault.RELAY)
    except Exception as error:  # noqa: BLE001  # whatever it is, it fails this mail alone
        return failed(error, fault_of(error))


def _send(message: StoredMessage) -> Outcome:
    try:
        count = message.send()
    except Exception as error:  # noqa: BLE001  # likewise
        outcome = failed(error, fault_of(error))
        return replace(outcome, refusals=refusals_of(message.collect_refusals()) or outcome.refusals)
    refusals = refusals_of(message.collect_refusals())
    if count == 0:  # not None, which a backend that does not count gives
        nothing = NothingSentError("the backend says that it sent no mail, and not why")
        return replace(failed(nothing, Fault.MESSAGE_TRANSIENT), refusals=refusals)
    return Outcome(refusals=refusals)


def _heed_refusals(connection: BaseEmailBackend, message: StoredMessage) -> None:
    """Django's backend for SMTP drops what `sendmail` gives: whom of several the relay refused."""
    if not isinstance(connection, SmtpBackend) or connection.connection is None:
        return
    smtp: Any = connection.connection
    sendmail = smtp.sendmail

    def sendmail_heeded(*args: Any, **kwargs: Any) -> Any:
        message.refused = sendmail(*args, **kwargs)
        return message.refused

    smtp.sendmail = sendmail_heeded


def _opening_error(connection: BaseEmailBackend) -> OSError | None:
    try:
        connection.open()
    except OSError as error:  # smtplib's own are OSErrors too
        return error
    return None
