"""What a transport is to the engine: channels, each of which takes one mail at a time."""

from typing import Protocol

from project.outbox.models import Email
from project.outbox.outcomes import Outcome
from project.outbox.replies import SENDER_REFUSED, in_words, refusals_of, reply_of
from project.outbox.retry import Fault


class Channel(Protocol):
    """One way out. Whatever goes wrong is told in the outcome, and never raised."""

    @property
    def is_open(self) -> bool:
        """Whether it has a connection."""

    @property
    def is_connecting(self) -> bool:
        """Whether it is just getting one."""

    async def send(self, email: Email) -> Outcome:
        """Hand over one mail, to those of its recipients that are not settled."""

    async def close(self) -> None:
        """Let go of what is kept open. The next `send` opens it again."""


class Transport(Protocol):
    """Where mail goes, by up to `channels` ways at the same time."""

    channels: int

    def channel(self) -> Channel:
        """A new channel."""

    def close(self) -> None:
        """Let go of what its channels share."""


def failed(error: Exception, fault: Fault, *, dialogue: str = "") -> Outcome:
    """The outcome that an exception makes."""
    return Outcome(in_words(error), fault, reply_of(error), refusals_of(error), dialogue, isinstance(error, SENDER_REFUSED))
