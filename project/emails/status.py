"""Statuses of an email. Pure."""

from enum import StrEnum


class Status(StrEnum):
    """Status of an email: `scheduled | queued → sending → sent | delayed | failed | bounced`. A `delayed` email is retried."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DELAYED = "delayed"  # an attempt failed, and another attempt will follow
    SENT = "sent"  # the relay accepted the email
    FAILED = "failed"
    BOUNCED = "bounced"  # the relay rejected every recipient's address as unknown
    CANCELED = "canceled"
    SUPPRESSED = "suppressed"  # every recipient is on the suppression list


CANCELABLE = (Status.SCHEDULED, Status.QUEUED, Status.DELAYED)
RETRYABLE = (Status.FAILED, Status.DELAYED)
FINAL = (Status.SENT, Status.FAILED, Status.BOUNCED, Status.CANCELED, Status.SUPPRESSED)
WAITING_UNTIL_DUE = (Status.SCHEDULED, Status.DELAYED)
NOT_SENT = tuple(status for status in Status if status != Status.SENT)  # each of these statuses has few emails
