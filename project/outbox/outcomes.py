"""What became of an attempt, and what that makes of the mail. Pure: the caller brings the time and the dice.

A mail has several recipients, and a relay may take it for one and refuse another. Those whose end is reached are `settled`;
the others are still to be sent to. A mail is `sent` if the relay took it for anyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from project.delays import DELAYS
from project.outbox.replies import Reply, address_is_bad
from project.outbox.retry import Fault, next_attempt
from project.outbox.states import Status

Settled = dict[str, dict[str, Any]]  # {address: {"status", "smtp_code", "response"}}


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. `error` is empty if the transport took the mail for anyone, else `fault` says whose it is.

    `reply` is what the relay said of the mail, `refusals` what it said of recipients that it refused. `dialogue` is the SMTP
    conversation, a line for each command and reply.
    """

    error: str = ""
    fault: Fault = Fault.MESSAGE_PERMANENT
    reply: Reply | None = None
    refusals: Mapping[str, Reply] = field(default_factory=dict)
    dialogue: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a mail is: its envelope, the recipients whose end is reached, and how many tries it had, this one included."""

    recipients: Sequence[str]
    settled: Settled
    attempts: int

    @property
    def pending(self) -> list[str]:
        """The recipients it is still to be sent to."""
        return [address for address in self.recipients if address not in self.settled]


@dataclass(frozen=True)
class Verdict:
    """What the mail is from now on. `bounced` are the recipients that turned out not to exist."""

    status: Status
    attempts: int
    error: str = ""
    settled: Settled = field(default_factory=dict)
    next_attempt_at: datetime | None = None
    bounced: Mapping[str, Reply] = field(default_factory=dict)

    @property
    def is_plainly_sent(self) -> bool:
        """Whether the relay took it for everybody, as it does with nearly all."""
        return self.status == Status.SENT and not self.settled


def verdict(
    outcome: Outcome, progress: Progress, *, now: datetime, jitter: float, delays: Sequence[timedelta] = DELAYS
) -> Verdict:
    """Decide what an attempt's outcome makes of the mail."""
    if outcome.error and outcome.fault == Fault.RELAY:  # no mail would have gone: this was not one of its chances
        return Verdict(Status.QUEUED, progress.attempts - 1, outcome.error, progress.settled)
    if not outcome.error and not outcome.refusals and not progress.settled:
        return Verdict(Status.SENT, progress.attempts)
    at = next_attempt(attempts=progress.attempts, now=now, delays=delays, asked=_asked(outcome), jitter=jitter)
    pending = progress.pending
    refusals = _refusals(outcome, pending)
    ends = {address: _end(refusals.get(address), outcome, chances=at is not None) for address in pending}
    settled = progress.settled | {address: end for address, end in ends.items() if end is not None}
    bounced = {address: refusals[address] for address, end in ends.items() if end and end["status"] == Status.BOUNCED}
    error = outcome.error or "; ".join(f"{address}: {reply.code} {reply.text}" for address, reply in outcome.refusals.items())
    if len(settled) < len(progress.recipients):
        return Verdict(Status.DELAYED, progress.attempts, error, settled, at, bounced)
    return Verdict(end_of_all(settled), progress.attempts, error, settled, None, bounced)


def settled_as(status: Status, reply: Reply | None = None) -> dict[str, Any]:
    """The end of one recipient."""
    return {"status": status.value, "smtp_code": reply.code if reply else None, "response": reply.text if reply else None}


def end_of_all(settled: Settled) -> Status:
    """The end of a mail whose recipients have all come to theirs."""
    ends = {end["status"] for end in settled.values()}
    for status in (Status.SENT, Status.FAILED, Status.BOUNCED):  # the best, and of the others the one that can be tried again
        if status in ends:
            return status
    return Status.SUPPRESSED


def _asked(outcome: Outcome) -> timedelta | None:
    replies = [*outcome.refusals.values(), *([outcome.reply] if outcome.reply else [])]
    return max((wait for reply in replies if (wait := reply.asks_to_wait)), default=None)


def _refusals(outcome: Outcome, pending: Sequence[str]) -> Mapping[str, Reply]:
    """What was said of each recipient. Of a mail that goes to one, all is said of that one."""
    if outcome.error and outcome.reply and len(pending) == 1:
        return {pending[0]: outcome.reply, **outcome.refusals}
    return outcome.refusals


def _end(refusal: Reply | None, outcome: Outcome, *, chances: bool) -> dict[str, Any] | None:
    """What became of one recipient, or None if it is to be tried again."""
    if refusal is None and not outcome.error:
        return settled_as(Status.SENT, outcome.reply)
    may_pass = not refusal.is_permanent if refusal else outcome.fault == Fault.MESSAGE_TRANSIENT
    if may_pass and chances:
        return None
    is_bad = refusal is not None and address_is_bad(refusal)
    return settled_as(Status.BOUNCED if is_bad else Status.FAILED, refusal or outcome.reply)
