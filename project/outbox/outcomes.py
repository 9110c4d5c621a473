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

    `reply` is what the relay said of the mail (with `of_sender`: of its sender), `refusals` what it said of recipients that it
    refused. `dialogue` is the SMTP conversation, a line for each command and reply.
    """

    error: str = ""
    fault: Fault = Fault.MESSAGE_PERMANENT
    reply: Reply | None = None
    refusals: Mapping[str, Reply] = field(default_factory=dict)
    dialogue: str = ""
    of_sender: bool = False


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
    """What the mail is from now on, and the `reply` that explains it.

    `refusals` are what this try's were, `bounced` those of recipients that turned out not to exist.
    """

    status: Status
    attempts: int
    error: str = ""
    settled: Settled = field(default_factory=dict)
    next_attempt_at: datetime | None = None
    bounced: Mapping[str, Reply] = field(default_factory=dict)
    refusals: Mapping[str, Reply] = field(default_factory=dict)
    reply: Reply | None = None

    @property
    def is_plainly_sent(self) -> bool:
        """Whether the relay took it for everybody, as it does with nearly all."""
        return self.status == Status.SENT and not self.settled


def verdict(
    outcome: Outcome, progress: Progress, *, now: datetime, jitter: float, delays: Sequence[timedelta] = DELAYS
) -> Verdict:
    """Decide what an attempt's outcome makes of the mail."""
    if outcome.error and outcome.fault == Fault.RELAY:  # no mail would have gone: this was not one of its chances
        return Verdict(Status.QUEUED, progress.attempts - 1, outcome.error, progress.settled, reply=outcome.reply)
    if not outcome.error and not outcome.refusals and not progress.settled:
        return Verdict(Status.SENT, progress.attempts, reply=outcome.reply)
    at = next_attempt(attempts=progress.attempts, now=now, delays=delays, asked=_asked(outcome), jitter=jitter)
    pending = progress.pending
    refusals = _refusals(outcome, pending)
    ends = {address: _end(refusals.get(address), outcome, chances=at is not None) for address in pending}
    ended = {address: end for address, end in ends.items() if end is not None}
    settled = progress.settled | ended
    bounced = {address: refusals[address] for address, end in ended.items() if end["status"] == Status.BOUNCED}
    error = _error(outcome, progress)
    if len(settled) < len(progress.recipients):
        put_off = next((refusals[address] for address in pending if address in refusals and address not in ended), outcome.reply)
        return Verdict(Status.DELAYED, progress.attempts, error, settled, at, bounced, refusals, put_off)
    status = end_of_all(settled)
    reply = said_at(status, ended) or said_at(status, settled)
    return Verdict(status, progress.attempts, error, settled, None, bounced, refusals, reply)


def settled_as(status: Status, reply: Reply | None = None) -> dict[str, Any]:
    """The end of one recipient."""
    return {"status": status.value, "smtp_code": reply.code if reply else None, "response": reply.text if reply else None}


def said_at(status: Status, settled: Settled) -> Reply | None:
    """What the relay said of a recipient that came to this end, if it said anything of one."""
    said = (end for end in settled.values() if end["status"] == status and end["smtp_code"] is not None)
    return next((Reply(end["smtp_code"], end["response"]) for end in said), None)


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


def _error(outcome: Outcome, progress: Progress) -> str:
    """What went wrong, with the addresses unless all is said of all."""
    said = {str(reply) for reply in outcome.refusals.values()}
    if len(said) == 1 and len(outcome.refusals) == len(progress.recipients):
        return said.pop()
    told = [f"{address}: {reply}" for address, reply in outcome.refusals.items()]
    return "; ".join([*told, outcome.error] if len(told) < len(progress.pending) and outcome.error else told)


def _refusals(outcome: Outcome, pending: Sequence[str]) -> Mapping[str, Reply]:
    """What was said of each recipient. Of a mail that goes to one, all is said of that one, but what is said of its sender."""
    if outcome.error and outcome.reply and len(pending) == 1 and not outcome.of_sender:
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
