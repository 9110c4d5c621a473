"""What a transport is to the engine: channels, each of which takes one mail at a time."""

from typing import Protocol

from project.emails.models import Email
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import SENDER_REJECTED, describe_error, rejections_from, reply_from_error


class Connection(Protocol):
    """One way out. Whatever goes wrong is told in the outcome, and never raised."""

    @property
    def is_open(self) -> bool:
        """Whether it has a connection."""

    @property
    def is_connecting(self) -> bool:
        """Whether it is just getting one."""

    async def send(self, email: Email) -> SendResult:
        """Hand over one mail, to those of its recipients that are not settled."""

    async def close(self) -> None:
        """Let go of what is kept open. The next `send` opens it again."""


class Transport(Protocol):
    """Where mail goes, by up to `channels` ways at the same time."""

    max_connections: int

    def create_connection(self) -> Connection:
        """A new channel."""

    def close(self) -> None:
        """Let go of what its channels share."""


def failed_result(error: Exception, failure_kind: FailureKind, *, smtp_transcript: str = "") -> SendResult:
    """The outcome that an exception makes."""
    return SendResult(
        describe_error(error),
        failure_kind,
        reply_from_error(error),
        rejections_from(error),
        smtp_transcript,
        isinstance(error, SENDER_REJECTED),
    )
