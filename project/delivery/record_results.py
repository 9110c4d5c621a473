"""Writing down what became of attempts, and what that makes of the mails."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from project.delivery.decision import DeliveryDecision, DeliveryState, decide
from project.emails.models import Email
from project.emails.status import Status
from project.events.log import append_events, build_event
from project.events.models import NewEvent
from project.suppressions.store import NewSuppression, suppress_all
from project.transports.result import SendResult
from project.transports.simulator import is_simulated


class LeaseLost(Exception):
    """Another engine has taken over a mail. What became of it is for that one to say."""


RELEASED: dict[str, Any] = {"claimed_by": "", "lease_expires_at": None}


@dataclass(frozen=True)
class Attempt:
    """A try that has ended: the mail as it was claimed, and what became of it. `jitter` in [0, 1) spreads the next tries."""

    email: Email
    result: SendResult
    at: datetime
    jitter: float = 0.5


def record_results(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
    """Write down what became of attempts of one engine, and tell it.

    Raises `NotInHand` if it no longer has one of these mails in hand.
    """
    judged = [(attempt, _decide(attempt)) for attempt in attempts]
    _update_sent([attempt for attempt, decision in judged if decision.is_sent_to_all])
    for attempt, decision in judged:
        if not decision.is_sent_to_all:
            _update(attempt, decision)
    append_events([_build_event(attempt, decision) for attempt, decision in judged])
    return [decision for _, decision in judged]


def _decide(attempt: Attempt) -> DeliveryDecision:
    email = attempt.email
    progress = DeliveryState(email.recipients, email.recipient_results, email.attempts)
    return decide(attempt.result, progress, now=attempt.at, jitter=attempt.jitter, delays=settings.RETRY_DELAYS)


def _update_sent(attempts: Sequence[Attempt]) -> None:
    """Nearly all mails are: they are written in one statement."""
    if not attempts:
        return
    emails = [attempt.email for attempt in attempts]
    mine = Email.objects.filter(id__in=[email.id for email in emails], status=Status.SENDING, claimed_by=emails[0].claimed_by)
    if mine.update(status=Status.SENT, sent_at=attempts[-1].at, last_error="", **RELEASED) < len(emails):
        raise LeaseLost


def _update(attempt: Attempt, decision: DeliveryDecision) -> None:
    mine = Email.objects.filter(id=attempt.email.id, status=Status.SENDING, claimed_by=attempt.email.claimed_by)
    recorded = mine.update(
        status=decision.status,
        attempts=decision.attempts,
        last_error=decision.error,
        recipient_results=decision.recipient_results,
        next_attempt_at=decision.next_attempt_at,
        sent_at=attempt.at if decision.status == Status.SENT else None,
        **RELEASED,
    )
    if not recorded:
        raise LeaseLost
    bad = {address: reply for address, reply in decision.bounced.items() if not is_simulated(address)}
    suppress_all([NewSuppression(address, str(reply), attempt.email.id) for address, reply in bad.items()], now=attempt.at)


def _build_event(attempt: Attempt, decision: DeliveryDecision) -> NewEvent:
    refused = {address: {"smtp_code": reply.code, "response": reply.text} for address, reply in decision.rejections.items()}
    extra = {"refused": refused} if refused else {}
    return build_event(
        attempt.email,
        now=attempt.at,
        status=decision.status,
        attempt=decision.attempts,
        smtp_code=decision.reply.code if decision.reply else None,
        response=decision.reply.text if decision.reply else None,
        smtp_transcript=attempt.result.smtp_transcript,
        extra=extra,
    )
