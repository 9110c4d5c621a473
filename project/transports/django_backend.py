"""Transport for any Django email backend, such as the embedded mailbox or django-anymail's backends for SES and Mailgun.

Backends are synchronous and may wait for a network, so they run on their own threads.
"""

import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import connections
from django.utils.module_loading import import_string

from project.bridge.background.thread_pool import ThreadPool
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, managed_connections
from project.config.mailers import DJANGO_HAS_MAILERS, smtp_options
from project.emails.models import Email
from project.transports.base import failed_result
from project.transports.raw_message import ADDRESS_FIELDS, RawEmailMessage
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind, classify_error
from project.transports.smtp.replies import rejections_from

logger = logging.getLogger(__name__)


class NoEmailSentError(Exception):
    """A backend returned a count of 0 instead of raising an exception."""


class DjangoBackendTransport:
    """Sends through the backend of Django's settings, on up to `max_connections` threads."""

    def __init__(self, max_connections: int) -> None:
        self.name = backend_name()
        self.max_connections = max_connections
        self.sending_ids = set[UUID]()  # changed by the threads
        self._threads = ThreadPool("sender", max_connections, on_thread_exit=connections.close_all)

    def create_connection(self) -> "DjangoBackendConnection":
        """Return a new connection that uses the transport's threads."""
        return DjangoBackendConnection(self._threads, self.sending_ids)

    def close(self) -> None:
        """Let the threads end after all submitted emails. Does not wait for the threads."""
        self._threads.close(timeout=0)


class DjangoBackendConnection:
    """Sends one email at a time on a thread. The connection is never open, because every email gets a new backend instance."""

    def __init__(self, threads: ThreadPool, sending_ids: set[UUID]) -> None:
        """Create a connection. While a thread sends an email, the email's id is in `sending_ids`."""
        self._threads = threads
        self._sending_ids = sending_ids

    is_open = is_connecting = False

    async def send(self, email: Email) -> SendResult:
        """Send one email on one of the threads."""
        return await self._threads.run(self._send, email)

    def _send(self, email: Email) -> SendResult:
        self._sending_ids.add(email.id)
        try:
            return send_through_backend(email)
        finally:
            self._sending_ids.discard(email.id)

    async def close(self) -> None:
        """Do nothing: no connection is kept open."""


def backend_name() -> str:
    """Return "mailbox" for the embedded mailbox, or the dotted path of another email backend."""
    path = backend_path()
    return "mailbox" if path == settings.MAILBOX_BACKEND else path


def backend_path() -> str:
    """Return the dotted path of the email backend."""
    return str(settings.MAILERS["default"]["BACKEND"])


def create_backend() -> BaseEmailBackend:
    """Return a new email backend. A custom SMTP backend has the options of the first relay, as Django's own has."""
    backend = import_string(backend_path())
    options = settings.MAILERS["default"].get("OPTIONS", {})
    if issubclass(backend, SmtpBackend) and settings.RELAYS:
        options = smtp_options(settings.RELAYS[0]) | options
    created: BaseEmailBackend = backend(**({"alias": "default"} if DJANGO_HAS_MAILERS else {}), **options)
    return created


def send_through_backend(email: Email) -> SendResult:
    """Send one email through Django's backend.

    An exception during sending fails only this email; other emails are still sent (django-mailer#48). If the backend cannot be
    loaded or cannot connect, or the database is unavailable, the result is `RELAY_UNAVAILABLE` and the email stays queued.
    An exception after sending changes nothing: the email must not be sent again.
    """
    result: SendResult | None = None
    try:
        with managed_connections():  # the backend may store emails in the database, on this thread
            email.refresh_from_db(fields=email.get_deferred_fields() & ADDRESS_FIELDS)
            try:
                connection = _open_connection()
            except Exception as error:  # noqa: BLE001  # raised before the backend got the email
                return failed_result(error, FailureKind.RELAY_UNAVAILABLE)
            try:
                message = RawEmailMessage(email, recipients=email.pending_recipients)
                _capture_rejections(connection, message)
                result = _send(connection, message)
            finally:
                connection.close()
    except Exception as error:  # any exception fails this email only
        if result is None:  # raised before sending, because `_send` catches errors during sending
            is_database_error = isinstance(error, DATABASE_UNAVAILABLE_ERRORS)
            return failed_result(error, FailureKind.RELAY_UNAVAILABLE if is_database_error else classify_error(error))
        logger.warning("The email backend failed after it had sent an email", exc_info=True)
    return result


def _send(connection: BaseEmailBackend, message: RawEmailMessage) -> SendResult:
    try:
        count = connection.send_messages([message])
    except Exception as error:  # noqa: BLE001  # any exception fails this email only
        result = failed_result(error, classify_error(error))
        return replace(result, rejections=rejections_from(message.collect_rejections()) or result.rejections)
    rejections = rejections_from(message.collect_rejections())
    if count == 0:  # None is not an error: some backends return None because they do not count
        no_email_sent = NoEmailSentError("the backend sent no email and raised no exception")
        return replace(failed_result(no_email_sent, FailureKind.TEMPORARY), rejections=rejections)
    return SendResult(rejections=rejections)


def _capture_rejections(connection: BaseEmailBackend, message: RawEmailMessage) -> None:
    """Store the rejected recipients, which smtplib's `sendmail` returns, because Django's SMTP backend ignores them."""
    if not isinstance(connection, SmtpBackend) or connection.connection is None:
        return
    smtp: Any = connection.connection
    sendmail = smtp.sendmail

    def capturing_sendmail(*args: Any, **kwargs: Any) -> Any:
        message.rejected = sendmail(*args, **kwargs)
        return message.rejected

    smtp.sendmail = capturing_sendmail


def _open_connection() -> BaseEmailBackend:
    connection = create_backend()
    connection.open()
    return connection
