"""Writing down what became of attempts, and what that makes of the mails."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from project.outbox.events import event_of, write_events
from project.outbox.models import Email, NewEvent
from project.outbox.outcomes import Outcome, Progress, Verdict, verdict
from project.outbox.states import Status
from project.outbox.suppressions import Entry, suppress_all
from project.outbox.transports.simulator import is_simulated


class NotInHand(Exception):
    """Another engine has taken over a mail. What became of it is for that one to say."""


FREE: dict[str, Any] = {"claimed_by": "", "lease_until": None}


@dataclass(frozen=True)
class Attempt:
    """A try that has ended: the mail as it was claimed, and what became of it. `jitter` in [0, 1) spreads the next tries."""

    email: Email
    outcome: Outcome
    at: datetime
    jitter: float = 0.5


def record_outcomes(attempts: Sequence[Attempt]) -> list[Verdict]:
    """Write down what became of attempts of one engine, and tell it.

    Raises `NotInHand` if it no longer has one of these mails in hand.
    """
    judged = [(attempt, _judge(attempt)) for attempt in attempts]
    _update_the_plainly_sent([attempt for attempt, judgement in judged if judgement.is_plainly_sent])
    for attempt, judgement in judged:
        if not judgement.is_plainly_sent:
            _update(attempt, judgement)
    write_events([_event(attempt, judgement) for attempt, judgement in judged])
    return [judgement for _, judgement in judged]


def _judge(attempt: Attempt) -> Verdict:
    email = attempt.email
    progress = Progress(email.recipients, email.settled, email.attempts)
    return verdict(attempt.outcome, progress, now=attempt.at, jitter=attempt.jitter, delays=settings.RETRY_DELAYS)


def _update_the_plainly_sent(attempts: Sequence[Attempt]) -> None:
    """Nearly all mails are: they are written in one statement."""
    if not attempts:
        return
    emails = [attempt.email for attempt in attempts]
    mine = Email.objects.filter(id__in=[email.id for email in emails], status=Status.SENDING, claimed_by=emails[0].claimed_by)
    if mine.update(status=Status.SENT, sent_at=attempts[-1].at, last_error="", **FREE) < len(emails):
        raise NotInHand


def _update(attempt: Attempt, judgement: Verdict) -> None:
    mine = Email.objects.filter(id=attempt.email.id, status=Status.SENDING, claimed_by=attempt.email.claimed_by)
    recorded = mine.update(
        status=judgement.status,
        attempts=judgement.attempts,
        last_error=judgement.error,
        settled=judgement.settled,
        next_attempt_at=judgement.next_attempt_at,
        sent_at=attempt.at if judgement.status == Status.SENT else None,
        **FREE,
    )
    if not recorded:
        raise NotInHand
    bad = {address: reply for address, reply in judgement.bounced.items() if not is_simulated(address)}
    suppress_all([Entry(address, str(reply), attempt.email.id) for address, reply in bad.items()], now=attempt.at)


def _event(attempt: Attempt, judgement: Verdict) -> NewEvent:
    refused = {address: {"smtp_code": reply.code, "response": reply.text} for address, reply in judgement.refusals.items()}
    more = {"refused": refused} if refused else {}
    return event_of(
        attempt.email,
        now=attempt.at,
        status=judgement.status,
        attempt=judgement.attempts,
        reply=judgement.reply,
        dialogue=attempt.outcome.dialogue,
        more=more,
    )
