"""The states of an e-mail on its way, and what is said of it. Pure."""

from enum import StrEnum


class Status(StrEnum):
    """`scheduled | queued → sending → sent | delayed | failed | bounced`; what is `delayed` is tried again."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DELAYED = "delayed"  # a try failed, another is due
    SENT = "sent"  # the relay took it
    FAILED = "failed"
    BOUNCED = "bounced"  # no such address, says the relay of every recipient
    CANCELED = "canceled"
    SUPPRESSED = "suppressed"  # every recipient is on the suppression list


CANCELABLE = (Status.SCHEDULED, Status.QUEUED)
WAITING_UNTIL_DUE = (Status.SCHEDULED, Status.DELAYED)
NOT_SENT = tuple(status for status in Status if status != Status.SENT)  # and the ends that few mails come to
