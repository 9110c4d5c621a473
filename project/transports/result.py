"""The result of one attempt to send an email."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import RELAY_CODES, Reply


@dataclass(frozen=True)
class SendResult:
    """The result of an attempt. `error` is empty if the transport accepted the email for at least one recipient.

    `failure_kind` applies only if there is an `error`. `reply` is the relay's reply to the message, or to MAIL FROM if
    `sender_rejected`; `rejections` are the relay's replies to RCPT TO, by recipient. `smtp_transcript` has one line for each
    command and reply.
    """

    error: str = ""
    failure_kind: FailureKind = FailureKind.PERMANENT
    reply: Reply | None = None
    rejections: Mapping[str, Reply] = field(default_factory=dict)
    smtp_transcript: str = ""
    sender_rejected: bool = False

    @property
    def may_be_relay_error(self) -> bool:
        """Return whether the relay may be the cause of a temporary failure: no reply is about a recipient of this email.

        If many different emails in a row fail this way, the relay is unavailable.
        """
        if not self.error or self.failure_kind != FailureKind.TEMPORARY:
            return False
        return all(reply.code in RELAY_CODES for reply in self.rejections.values())
