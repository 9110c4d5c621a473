"""Events of a delivery attempt: one event for each kind of result that its recipients got.

Usually all recipients get the same result, so there is one event. A relay may also accept an email for some recipients, reject it
for others and ask to retry the rest. Then each result has its own event as soon as it is known, with its `recipients`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from project.delivery.decision import DeliveryDecision, DeliveryState, reply_for_status
from project.emails.status import Status
from project.events.log import EmailLike, build_event
from project.events.models import NewEvent
from project.transports.result import SendResult
from project.transports.smtp.replies import Reply


def result_events(
    email: EmailLike, state: DeliveryState, result: SendResult, decision: DeliveryDecision, *, now: datetime
) -> list[NewEvent]:
    """Return the events of an attempt. The event with the email's own status is the last one, if there is such an event.

    Each event has the email's status in `data`, and the result of its recipients as its type.
    """
    if decision.is_sent_to_all:
        return [_build_sent_event(email, result, decision, now)]
    groups = _recipients_by_status(state, decision)
    ordered = sorted(groups, key=lambda status: status == decision.status)
    events = [_build_event(email, status, groups[status], result, decision, now) for status in ordered]
    events[-1].smtp_transcript = result.smtp_transcript
    return events


def _recipients_by_status(state: DeliveryState, decision: DeliveryDecision) -> dict[Status, list[str]]:
    """Return the recipients of the attempt by their status after it. A recipient without a final result has the email's."""
    groups: dict[Status, list[str]] = {}
    for address in state.pending_recipients:
        final = decision.recipient_results.get(address)
        groups.setdefault(Status(final["status"]) if final else decision.status, []).append(address)
    return groups


def _build_sent_event(email: EmailLike, result: SendResult, decision: DeliveryDecision, now: datetime) -> NewEvent:
    """Return the only event of the most common result."""
    return build_event(
        email,
        now=now,
        status=Status.SENT,
        recipients=email.recipients,
        attempt=decision.attempts,
        smtp_code=result.reply.code if result.reply else None,
        response=result.reply.text if result.reply else None,
        smtp_transcript=result.smtp_transcript,
    )


def _build_event(  # noqa: PLR0913  # an attempt, and what it meant for some recipients
    email: EmailLike, status: Status, recipients: list[str], result: SendResult, decision: DeliveryDecision, now: datetime
) -> NewEvent:
    rejected = {address: decision.rejections[address] for address in recipients if address in decision.rejections}
    reply = _reply(status, recipients, rejected, result, decision)
    return build_event(
        email,
        now=now,
        status=decision.status,
        result=status,
        recipients=recipients,
        attempt=decision.attempts,
        smtp_code=reply.code if reply else None,
        response=reply.text if reply else None,
        extra={"refused": _refused(decision.rejections)} if decision.rejections else {},
    )


def _reply(
    status: Status, recipients: Sequence[str], rejected: Mapping[str, Reply], result: SendResult, decision: DeliveryDecision
) -> Reply | None:
    """Return the relay's reply that explains the status of these recipients."""
    finals = {address: decision.recipient_results[address] for address in recipients if address in decision.recipient_results}
    return reply_for_status(status, finals) or next(iter(rejected.values()), result.reply)


def _refused(rejected: Mapping[str, Reply]) -> dict[str, dict[str, Any]]:
    return {address: {"smtp_code": reply.code, "response": reply.text} for address, reply in rejected.items()}
