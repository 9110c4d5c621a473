"""The interface between the delivery worker and a transport: connections that send one email at a time."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from project.emails.models import Email
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import SENDER_REJECTED, describe_error, rejections_from, reply_from_error


class Connection(Protocol):
    """One connection of a transport. It returns errors as results, and never raises them."""

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""

    @property
    def is_connecting(self) -> bool:
        """Return whether the connection is being opened."""

    async def send(self, email: Email) -> SendResult:
        """Send one email to its recipients that have no final result yet."""

    async def close(self) -> None:
        """Close the connection. The next `send` opens it again."""


class Transport(Protocol):
    """Sends emails over up to `max_connections` connections at the same time. `name` is the relay's name, without a password."""

    name: str
    max_connections: int

    @property
    def sending_ids(self) -> Collection[UUID]:
        """Return the emails that threads are sending. Canceling `send` does not stop a thread."""

    def create_connection(self) -> Connection:
        """Return a new connection, which is not open yet."""

    def close(self) -> None:
        """Release the resources that the connections share."""


def failed_result(error: Exception, failure_kind: FailureKind, *, smtp_transcript: str = "") -> SendResult:
    """Return the result of an attempt that raised `error`."""
    return SendResult(
        describe_error(error),
        failure_kind,
        reply_from_error(error),
        rejections_from(error),
        smtp_transcript,
        isinstance(error, SENDER_REJECTED),
    )
