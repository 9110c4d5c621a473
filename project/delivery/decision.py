"""Decisions after an attempt: the email's new status, the results of its recipients and the time of the next attempt.

Pure: the caller passes the current time and the random number.

A relay may accept an email for some recipients and reject it for others. Recipients with a final result are in
`recipient_results`; all other recipients are pending. An email is `sent` if the relay accepted it for at least one recipient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from project.config.durations import DEFAULT_RETRY_DELAYS
from project.delivery.retry_policy import next_attempt
from project.emails.status import Status
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply, is_bad_address

NOT_RETRIED = "not retried, because the next attempt would be after the email's maximum age (MAX_EMAIL_AGE)"

RecipientResults = dict[str, dict[str, Any]]  # {address: {"status", "smtp_code", "response", "finished_at"}}


@dataclass(frozen=True)
class DeliveryState:
    """The email before the decision: its recipients, their final results so far, and its attempts including this one."""

    recipients: Sequence[str]
    recipient_results: RecipientResults
    attempts: int
    give_up_at: datetime | None = None  # the end of the email's maximum age

    @property
    def pending_recipients(self) -> list[str]:
        """Return the recipients without a final result."""
        return [address for address in self.recipients if address not in self.recipient_results]


@dataclass(frozen=True)
class DeliveryDecision:
    """The email after the attempt, and the relay's `reply` that explains its status.

    `rejections` contains the recipients that the relay rejected in this attempt, with the relay's replies. `bounced` contains
    the rejected addresses that do not exist, with the relay's replies.
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
        """Return whether the relay accepted the email for all recipients at once, the most common case."""
        return self.status == Status.SENT and not self.recipient_results


def decide(
    result: SendResult,
    state: DeliveryState,
    *,
    now: datetime,
    jitter: float,
    delays: Sequence[timedelta] = DEFAULT_RETRY_DELAYS,
) -> DeliveryDecision:
    """Decide what the result of an attempt means for the email.

    The results of recipients get no time here, because the caller knows when they are stored.
    """
    if result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE:
        # The relay would have accepted no email at all, so this attempt does not count.
        return DeliveryDecision(Status.QUEUED, state.attempts - 1, result.error, state.recipient_results, reply=result.reply)
    if not result.error and not result.rejections and not state.recipient_results:
        return DeliveryDecision(Status.SENT, state.attempts, reply=result.reply)
    retry_at = next_attempt(
        attempts=state.attempts, now=now, delays=delays, requested_delay=_requested_delay(result), jitter=jitter
    )
    is_too_late = retry_at is not None and state.give_up_at is not None and retry_at > state.give_up_at
    retry_at = None if is_too_late else retry_at
    pending = state.pending_recipients
    rejections = _rejections(result, pending)
    decided = {address: _decide_recipient(rejections.get(address), result, can_retry=retry_at is not None) for address in pending}
    finished = {address: final for address, final in decided.items() if final is not None}
    recipient_results = state.recipient_results | finished
    bounced = {address: rejections[address] for address, final in finished.items() if final["status"] == Status.BOUNCED}
    error = _error_text(result, state)
    if len(recipient_results) < len(state.recipients):
        delaying = (rejections[address] for address in pending if address in rejections and address not in finished)
        reply = next(delaying, result.reply)
        return DeliveryDecision(Status.DELAYED, state.attempts, error, recipient_results, retry_at, bounced, rejections, reply)
    status = overall_status(recipient_results)
    if is_too_late and any(_decide_recipient(rejections.get(address), result, can_retry=True) is None for address in pending):
        error = f"{error}; {NOT_RETRIED}"
    reply = reply_for_status(status, finished) or reply_for_status(status, recipient_results)
    return DeliveryDecision(status, state.attempts, error, recipient_results, None, bounced, rejections, reply)


def recipient_result(status: Status, reply: Reply | None = None, *, at: datetime | None = None) -> dict[str, Any]:
    """Return the final result of one recipient, with its time if it is known."""
    final = {"status": status.value, "smtp_code": reply.code if reply else None, "response": reply.text if reply else None}
    return final | ({"finished_at": at.isoformat()} if at else {})


def reply_for_status(status: Status, recipient_results: RecipientResults) -> Reply | None:
    """Return the relay's reply about the first recipient with this status, or None if there is no such reply."""
    replied = (final for final in recipient_results.values() if final["status"] == status and final["smtp_code"] is not None)
    return next((Reply(final["smtp_code"], final["response"]) for final in replied), None)


def overall_status(recipient_results: RecipientResults) -> Status:
    """Return the status of an email whose recipients all have a final result."""
    statuses = {final["status"] for final in recipient_results.values()}
    # The best status first, then `failed` before `bounced`, because a failed email can be retried.
    for status in (Status.SENT, Status.FAILED, Status.BOUNCED):
        if status in statuses:
            return status
    return Status.SUPPRESSED


def _requested_delay(result: SendResult) -> timedelta | None:
    replies = [*result.rejections.values(), *([result.reply] if result.reply else [])]
    return max((delay for reply in replies if (delay := reply.requested_delay)), default=None)


def _error_text(result: SendResult, state: DeliveryState) -> str:
    """Return the errors, each with the recipient's address unless all recipients have the same error."""
    distinct = {str(reply) for reply in result.rejections.values()}
    if len(distinct) == 1 and len(result.rejections) == len(state.recipients):
        return distinct.pop()
    errors = [f"{address}: {reply}" for address, reply in result.rejections.items()]
    return "; ".join([*errors, result.error] if len(errors) < len(state.pending_recipients) and result.error else errors)


def _rejections(result: SendResult, pending: Sequence[str]) -> Mapping[str, Reply]:
    """Return the rejections by recipient.

    With a single recipient, an error reply counts as a rejection of that recipient, unless it is about the sender.
    """
    if result.error and result.reply and len(pending) == 1 and not result.sender_rejected:
        return {pending[0]: result.reply, **result.rejections}
    return result.rejections


def _decide_recipient(rejection: Reply | None, result: SendResult, *, can_retry: bool) -> dict[str, Any] | None:
    """Return the final result of one recipient, or None to retry."""
    if rejection is None and not result.error:
        return recipient_result(Status.SENT, result.reply)
    is_temporary = not rejection.is_permanent if rejection else result.failure_kind != FailureKind.PERMANENT
    if is_temporary and can_retry:
        return None
    is_bad = rejection is not None and is_bad_address(rejection)
    return recipient_result(Status.BOUNCED if is_bad else Status.FAILED, rejection or result.reply)
