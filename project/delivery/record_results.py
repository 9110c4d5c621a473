"""Stores the results of attempts: the emails' new state, their events and new suppressions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce

from project.delivery.claimed_rows import finish_sent_rows
from project.delivery.decision import DeliveryDecision, DeliveryState, RecipientResults, decide
from project.delivery.expiry import give_up_at
from project.delivery.result_events import result_events
from project.emails.failure_reason import SUPPRESSED, failure_reason
from project.emails.models import Email
from project.emails.status import Status
from project.events.log import append_events
from project.events.models import NewEvent
from project.suppressions.store import NewSuppression, suppress_all
from project.transports.result import SendResult
from project.transports.simulator import is_simulated


class LeaseLost(Exception):
    """Another worker has claimed one of the emails in the meantime and will store that email's result."""


# Fields of an email after a completed attempt: no worker claims it, and sending it did not make the worker crash.
RELEASED: dict[str, Any] = {"claimed_by": "", "lease_expires_at": None, "crashes": None}


@dataclass(frozen=True)
class Attempt:
    """A finished attempt through a relay: the email as it was claimed, and the result. `jitter` in [0, 1) spreads retries."""

    email: Email
    result: SendResult
    at: datetime
    jitter: float = 0.5
    relay: str | None = None


def record_results(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
    """Store the results of attempts of one worker through one relay, and append their events.

    Raises `LeaseLost` if the worker no longer holds the claim on one of the emails.
    """
    states, delays = [_state(attempt) for attempt in attempts], settings.RETRY_DELAYS
    decided = [(attempt, _decide(attempt, state, delays)) for attempt, state in zip(attempts, states, strict=True)]
    _update_sent([attempt for attempt, decision in decided if decision.is_sent_to_all])
    for attempt, decision in decided:
        if not decision.is_sent_to_all:
            _update(attempt, decision)
    _suppress_bounced(decided)
    append_events([event for pair, state in zip(decided, states, strict=True) for event in _events(*pair, state)])
    return [decision for _, decision in decided]


def _state(attempt: Attempt) -> DeliveryState:
    email, result = attempt.email, attempt.result
    latest_retry = give_up_at(email) if result.error or result.rejections else None  # a sent email is not retried
    return DeliveryState(email.recipients, email.recipient_results, email.attempts, latest_retry)


def _decide(attempt: Attempt, state: DeliveryState, delays: Sequence[timedelta]) -> DeliveryDecision:
    return decide(attempt.result, state, now=attempt.at, jitter=attempt.jitter, delays=delays)


def _events(attempt: Attempt, decision: DeliveryDecision, state: DeliveryState) -> list[NewEvent]:
    events = result_events(attempt.email, state, attempt.result, decision, now=attempt.at)
    for event in events:
        event.data["relay"] = attempt.relay
    return events


def _update_sent(attempts: Sequence[Attempt]) -> None:
    """Store the most common result, sent to all recipients, with one statement for all emails."""
    if not attempts:
        return
    ids = [attempt.email.id for attempt in attempts]
    last = attempts[-1]
    if finish_sent_rows(ids, last.email.claimed_by, last.relay, at=last.at) < len(ids):
        raise LeaseLost


def _update(attempt: Attempt, decision: DeliveryDecision) -> None:
    claimed = Email.objects.filter(id=attempt.email.id, status=Status.SENDING, claimed_by=attempt.email.claimed_by)
    updated = claimed.update(
        status=decision.status,
        attempts=decision.attempts,
        last_error=decision.error,
        reason=_reason(attempt.email, decision),
        relay=attempt.relay,
        recipient_results=_timed_results(attempt, decision),
        next_attempt_at=decision.next_attempt_at,
        sent_at=Coalesce(F("sent_at"), _accepted_at(attempt, decision)),
        **RELEASED,
    )
    if not updated:
        raise LeaseLost


def _suppress_bounced(decided: Sequence[tuple[Attempt, DeliveryDecision]]) -> None:
    """Add the addresses that do not exist, with one statement, whose fixed order of rows avoids deadlocks with an import."""
    entries = [
        NewSuppression(address, str(reply), attempt.email.id)
        for attempt, decision in decided
        for address, reply in decision.bounced.items()
        if not is_simulated(address)
    ]
    if entries:
        suppress_all(entries, now=decided[-1][0].at)


def _timed_results(attempt: Attempt, decision: DeliveryDecision) -> RecipientResults:
    """Return the results of the recipients. The results of this attempt get its time."""
    time = {"finished_at": attempt.at.isoformat()}
    earlier = attempt.email.recipient_results
    return {address: final if address in earlier else final | time for address, final in decision.recipient_results.items()}


def _accepted_at(attempt: Attempt, decision: DeliveryDecision) -> Value:
    """Return the time of this attempt if the relay accepted the email for a recipient, otherwise NULL."""
    accepted = any(final["status"] == Status.SENT for final in decision.recipient_results.values())
    return Value(attempt.at if accepted else None, DateTimeField())


def _reason(email: Email, decision: DeliveryDecision) -> str | None:
    """Return the reason why the email was not sent, or why it was not sent to one of its recipients, or None."""
    if decision.status != Status.SENT:
        return failure_reason(str(decision.reply or decision.error), email.recipients)
    for final in decision.recipient_results.values():
        if final["status"] == Status.SUPPRESSED:
            return SUPPRESSED
        if final["status"] != Status.SENT:
            reply = f"{final['smtp_code']} {final['response']}" if final["smtp_code"] else decision.error
            return failure_reason(reply, email.recipients)
    return None
