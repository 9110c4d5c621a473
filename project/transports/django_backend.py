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

from project.bridge.background.thread_pool import ThreadPool
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, managed_connections
from project.emails.models import Email
from project.transports.base import failed_result
from project.transports.raw_message import ADDRESS_FIELDS, RawEmailMessage
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind, classify_error
from project.transports.smtp.replies import rejections_from


class NothingSentError(Exception):
    """What a backend tells by its count alone."""


class DjangoBackendTransport:
    """Sends through the backend of Django's settings, by `channels` threads."""

    def __init__(self, max_connections: int) -> None:
        self.max_connections = max_connections
        self._threads = ThreadPool("sender", max_connections, on_thread_exit=connections.close_all)

    def create_connection(self) -> "DjangoBackendConnection":
        """A new channel."""
        return DjangoBackendConnection(self._threads)

    def close(self) -> None:
        """Let the threads go once they have done what they were given."""
        self._threads.close(timeout=0)


class DjangoBackendConnection:
    """One of the threads; it has no connection of its own, since a backend is made for a mail."""

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads

    is_open = is_connecting = False

    async def send(self, email: Email) -> SendResult:
        """Hand over one mail."""
        return await self._threads.run(send_through_backend, email)

    async def close(self) -> None:
        """Nothing is kept open."""


def send_through_backend(email: Email) -> SendResult:
    """Hand one mail to Django's backend. Any exception is that mail's own failure, and stops no other (django-mailer#48).

    Unless no conversation comes about at all: that is the relay's failure, or the database's, and no mail's.
    """
    try:
        with managed_connections():  # the backend may keep its mail in the database, on this thread
            email.refresh_from_db(fields=email.get_deferred_fields() & ADDRESS_FIELDS)
            connection = get_connection()
            if (error := _opening_error(connection)) is not None:
                return failed_result(error, FailureKind.RELAY_UNAVAILABLE)
            with closing(connection):
                message = RawEmailMessage(email, connection, recipients=email.pending_recipients)
                _capture_rejections(connection, message)
                return _send(message)
    except DATABASE_UNAVAILABLE_ERRORS as error:  # nothing was sent: what fails in a backend that sends is told by `_send`
        return failed_result(error, FailureKind.RELAY_UNAVAILABLE)
    except Exception as error:  # noqa: BLE001  # whatever it is, it fails this mail alone
        return failed_result(error, classify_error(error))


def _send(message: RawEmailMessage) -> SendResult:
    try:
        count = message.send()
    except Exception as error:  # noqa: BLE001  # likewise
        result = failed_result(error, classify_error(error))
        return replace(result, rejections=rejections_from(message.collect_rejections()) or result.rejections)
    rejections = rejections_from(message.collect_rejections())
    if count == 0:  # not None, which a backend that does not count gives
        nothing = NothingSentError("the backend says that it sent no mail, and not why")
        return replace(failed_result(nothing, FailureKind.TEMPORARY), rejections=rejections)
    return SendResult(rejections=rejections)


def _capture_rejections(connection: BaseEmailBackend, message: RawEmailMessage) -> None:
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
