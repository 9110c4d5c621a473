"""The states of an e-mail on its way, and what is said of it. Pure."""

from enum import StrEnum


class Status(StrEnum):
    """`scheduled | queued → sending → sent | delayed | failed`; `delayed` is tried again, and what waits can be `canceled`."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DELAYED = "delayed"  # a try failed, another is due
    SENT = "sent"  # the relay took it
    FAILED = "failed"
    CANCELED = "canceled"


CANCELABLE = (Status.SCHEDULED, Status.QUEUED)
WAITING_FOR_ITS_TIME = (Status.SCHEDULED, Status.DELAYED)
