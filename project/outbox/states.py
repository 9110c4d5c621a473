"""The states of an e-mail on its way, and what is said of it. Pure."""

from enum import StrEnum


class Status(StrEnum):
    """`queued → sending → sent | failed`."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"  # the relay took it
    FAILED = "failed"
