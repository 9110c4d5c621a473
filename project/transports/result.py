"""The result of one attempt to send an email."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply


@dataclass(frozen=True)
class SendResult:
    """What became of an attempt. `error` is empty if the transport took the mail for anyone, else `fault` says whose it is.

    `reply` is what the relay said of the mail (with `of_sender`: of its sender), `refusals` what it said of recipients that it
    refused. `dialogue` is the SMTP conversation, a line for each command and reply.
    """

    error: str = ""
    failure_kind: FailureKind = FailureKind.PERMANENT
    reply: Reply | None = None
    rejections: Mapping[str, Reply] = field(default_factory=dict)
    smtp_transcript: str = ""
    sender_rejected: bool = False
