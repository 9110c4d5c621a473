"""What became of an attempt, and what that makes of the mail. Pure: the caller brings the time and the dice.

A mail has several recipients, and a relay may take it for one and refuse another. Those whose end is reached are `settled`;
the others are still to be sent to. A mail is `sent` if the relay took it for anyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from project.config.durations import DEFAULT_RETRY_DELAYS
from project.delivery.retry_policy import next_attempt
from project.emails.status import Status
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply, is_bad_address

RecipientResults = dict[str, dict[str, Any]]  # {address: {"status", "smtp_code", "response"}}


@dataclass(frozen=True)
class DeliveryState:
    """How far a mail is: its envelope, the recipients whose end is reached, and how many tries it had, this one included."""

    recipients: Sequence[str]
    recipient_results: RecipientResults
    attempts: int

    @property
    def pending_recipients(self) -> list[str]:
        """The recipients it is still to be sent to."""
        return [address for address in self.recipients if address not in self.recipient_results]


@dataclass(frozen=True)
class DeliveryDecision:
    """What the mail is from now on, and the `reply` that explains it.

    `refusals` are what this try's were, `bounced` those of recipients that turned out not to exist.
    """

    status: Status
    attempts: int
    error: str = ""
    recipient_results: RecipientResults = field(default_factory=dict)
    next_attempt_at: datetime | None = None
    bounced: Mapping[str, Reply] = field(default_factory=dict)
    rejections: Mapping[str, Reply] = field(default_factory=dict)
    reply: Reply | None = None

    @property
    def is_sent_to_all(self) -> bool:
        """Whether the relay took it for everybody, as it does with nearly all."""
        return self.status == Status.SENT and not self.recipient_results


def decide(
    result: SendResult,
    progress: DeliveryState,
    *,
    now: datetime,
    jitter: float,
    delays: Sequence[timedelta] = DEFAULT_RETRY_DELAYS,
) -> DeliveryDecision:
    """Decide what an attempt's outcome makes of the mail."""
    if (
        result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE
    ):  # no mail would have gone: this was not one of its chances
        return DeliveryDecision(
            Status.QUEUED, progress.attempts - 1, result.error, progress.recipient_results, reply=result.reply
        )
    if not result.error and not result.rejections and not progress.recipient_results:
        return DeliveryDecision(Status.SENT, progress.attempts, reply=result.reply)
    at = next_attempt(attempts=progress.attempts, now=now, delays=delays, asked=_requested_delay(result), jitter=jitter)
    pending = progress.pending_recipients
    rejections = _rejections(result, pending)
    ends = {address: _decide_recipient(rejections.get(address), result, chances=at is not None) for address in pending}
    ended = {address: end for address, end in ends.items() if end is not None}
    recipient_results = progress.recipient_results | ended
    bounced = {address: rejections[address] for address, end in ended.items() if end["status"] == Status.BOUNCED}
    error = _error_text(result, progress)
    if len(recipient_results) < len(progress.recipients):
        put_off = next(
            (rejections[address] for address in pending if address in rejections and address not in ended), result.reply
        )
        return DeliveryDecision(Status.DELAYED, progress.attempts, error, recipient_results, at, bounced, rejections, put_off)
    status = overall_status(recipient_results)
    reply = reply_for_status(status, ended) or reply_for_status(status, recipient_results)
    return DeliveryDecision(status, progress.attempts, error, recipient_results, None, bounced, rejections, reply)


def recipient_result(status: Status, reply: Reply | None = None) -> dict[str, Any]:
    """The end of one recipient."""
    return {"status": status.value, "smtp_code": reply.code if reply else None, "response": reply.text if reply else None}


def reply_for_status(status: Status, recipient_results: RecipientResults) -> Reply | None:
    """What the relay said of a recipient that came to this end, if it said anything of one."""
    said = (end for end in recipient_results.values() if end["status"] == status and end["smtp_code"] is not None)
    return next((Reply(end["smtp_code"], end["response"]) for end in said), None)


def overall_status(recipient_results: RecipientResults) -> Status:
    """The end of a mail whose recipients have all come to theirs."""
    ends = {end["status"] for end in recipient_results.values()}
    for status in (Status.SENT, Status.FAILED, Status.BOUNCED):  # the best, and of the others the one that can be tried again
        if status in ends:
            return status
    return Status.SUPPRESSED


def _requested_delay(result: SendResult) -> timedelta | None:
    replies = [*result.rejections.values(), *([result.reply] if result.reply else [])]
    return max((wait for reply in replies if (wait := reply.requested_delay)), default=None)


def _error_text(result: SendResult, progress: DeliveryState) -> str:
    """What went wrong, with the addresses unless all is said of all."""
    said = {str(reply) for reply in result.rejections.values()}
    if len(said) == 1 and len(result.rejections) == len(progress.recipients):
        return said.pop()
    told = [f"{address}: {reply}" for address, reply in result.rejections.items()]
    return "; ".join([*told, result.error] if len(told) < len(progress.pending_recipients) and result.error else told)


def _rejections(result: SendResult, pending: Sequence[str]) -> Mapping[str, Reply]:
    """What was said of each recipient. Of a mail that goes to one, all is said of that one, but what is said of its sender."""
    if result.error and result.reply and len(pending) == 1 and not result.sender_rejected:
        return {pending[0]: result.reply, **result.rejections}
    return result.rejections


def _decide_recipient(refusal: Reply | None, result: SendResult, *, chances: bool) -> dict[str, Any] | None:
    """What became of one recipient, or None if it is to be tried again."""
    if refusal is None and not result.error:
        return recipient_result(Status.SENT, result.reply)
    may_pass = not refusal.is_permanent if refusal else result.failure_kind == FailureKind.TEMPORARY
    if may_pass and chances:
        return None
    is_bad = refusal is not None and is_bad_address(refusal)
    return recipient_result(Status.BOUNCED if is_bad else Status.FAILED, refusal or result.reply)
