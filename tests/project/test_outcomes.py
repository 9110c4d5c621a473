"""What an attempt's outcome makes of a mail."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from project.outbox.outcomes import Outcome, Progress, Settled, Verdict, end_of_all, settled_as, verdict
from project.outbox.replies import Reply
from project.outbox.retry import Fault
from project.outbox.states import Status

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
MIDDLE = 0.5  # the dice that move nothing
FIRST_DELAY = timedelta(minutes=1)

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
TAKEN = Reply(250, "2.0.0 Taken")
NO_USER = Reply(550, "5.1.1 No such user")
BLOCKED = Reply(550, "5.7.1 Blocked")
BARE = Reply(550, "No")
FULL = Reply(452, "4.2.2 Full")
LATER = Reply(451, "4.3.0 Later")

SENT, DELAYED, FAILED, BOUNCED, QUEUED = Status.SENT, Status.DELAYED, Status.FAILED, Status.BOUNCED, Status.QUEUED
TRANSIENT, PERMANENT = Fault.MESSAGE_TRANSIENT, Fault.MESSAGE_PERMANENT


def first_try(*recipients: str) -> Progress:
    """A mail that nothing was settled about."""
    return Progress(recipients, {}, 1)


def judge(outcome: Outcome, progress: Progress) -> Verdict:
    """The verdict, with the usual delays."""
    return verdict(outcome, progress, now=NOW, jitter=MIDDLE)


def taken_but(**refusals: Reply) -> Outcome:
    """The relay took the mail, but not for these."""
    return Outcome(reply=TAKEN, refusals=_addressed(refusals))


def refused(fault: Fault, **refusals: Reply) -> Outcome:
    """The relay took the mail for nobody, and said this of each."""
    reply = min(refusals.values(), key=lambda reply: reply.code)
    return Outcome("SMTPRecipientsRefused: all", fault, reply, _addressed(refusals))


def ends(judgement: Verdict) -> dict[str, tuple[str, int | None]]:
    """What became of each recipient that is settled, in short."""
    return {address: (end["status"], end["smtp_code"]) for address, end in judgement.settled.items()}


def _addressed(refusals: dict[str, Reply]) -> dict[str, Reply]:
    return {f"{name}@example.com": reply for name, reply in refusals.items()}


# All alike


@pytest.mark.parametrize("recipients", [[ADA], [ADA, BOB]])
def test_a_mail_that_is_taken_for_everybody_is_plainly_sent(recipients: list[str]) -> None:
    judgement = judge(Outcome(reply=TAKEN), first_try(*recipients))

    assert judgement == Verdict(SENT, 1, reply=TAKEN)
    assert judgement.is_plainly_sent


def test_a_relay_that_does_not_work_costs_no_attempt() -> None:
    progress = Progress([ADA, BOB], {BOB: settled_as(SENT)}, 3)

    judgement = judge(Outcome("no route", Fault.RELAY), progress)

    assert judgement == Verdict(QUEUED, 2, "no route", {BOB: settled_as(SENT)})


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (refused(PERMANENT, ada=NO_USER, bob=NO_USER), BOUNCED),
        (refused(PERMANENT, ada=BLOCKED, bob=BLOCKED), FAILED),
        (refused(PERMANENT, ada=BARE, bob=BARE), FAILED),
        (refused(PERMANENT, ada=NO_USER, bob=BLOCKED), FAILED),
        (refused(TRANSIENT, ada=LATER, bob=FULL), DELAYED),
        (refused(TRANSIENT, ada=NO_USER, bob=FULL), DELAYED),
        (taken_but(bob=NO_USER), SENT),
        (taken_but(bob=BLOCKED), SENT),
        (taken_but(bob=FULL), DELAYED),
        (Outcome("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED),
        (Outcome("SMTPDataError: no user", PERMANENT, NO_USER), FAILED),  # it does not say which of the two
        (Outcome("SMTPDataError: later", TRANSIENT, LATER), DELAYED),
        (Outcome("SMTPServerDisconnected: gone", TRANSIENT), DELAYED),
        (Outcome("ValueError: nonsense", PERMANENT), FAILED),
    ],
)
def test_the_status_of_a_mail_to_two(outcome: Outcome, status: Status) -> None:
    judgement = judge(outcome, first_try(ADA, BOB))

    assert (judgement.status, judgement.attempts) == (status, 1)
    assert not judgement.is_plainly_sent
    assert judgement.next_attempt_at == (NOW + FIRST_DELAY if status == DELAYED else None)
    assert judgement.error


@pytest.mark.parametrize(
    ("outcome", "status", "bounced"),
    [
        (refused(PERMANENT, ada=NO_USER), BOUNCED, {ADA: NO_USER}),
        (Outcome("SMTPDataError: no user", PERMANENT, NO_USER), BOUNCED, {ADA: NO_USER}),  # whom else can it mean
        (Outcome("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED, {}),
        (Outcome("SMTPDataError: later", TRANSIENT, LATER), DELAYED, {}),
        (Outcome("SMTPServerDisconnected: gone", TRANSIENT), DELAYED, {}),
        (Outcome("ValueError: nonsense", PERMANENT), FAILED, {}),
    ],
)
def test_the_status_of_a_mail_to_one(outcome: Outcome, status: Status, bounced: dict[str, Reply]) -> None:
    judgement = judge(outcome, first_try(ADA))

    assert (judgement.status, judgement.bounced) == (status, bounced)
    assert len(judgement.settled) == (status != DELAYED)


# Each recipient's own end


def test_a_sender_that_is_refused_makes_no_address_bad() -> None:
    said = Reply(550, "5.1.3 User address required")

    judgement = judge(Outcome(str(said), PERMANENT, said, of_sender=True), first_try(ADA))

    assert (judgement.status, judgement.bounced, judgement.reply) == (Status.FAILED, {}, said)


def test_who_was_refused_for_good_is_settled_beside_who_was_taken() -> None:
    judgement = judge(taken_but(bob=NO_USER, eve=BLOCKED), first_try(ADA, BOB, EVE))

    assert judgement.settled == {
        ADA: settled_as(SENT, TAKEN),
        BOB: settled_as(BOUNCED, NO_USER),
        EVE: settled_as(FAILED, BLOCKED),
    }
    assert (judgement.bounced, judgement.next_attempt_at) == ({BOB: NO_USER}, None)
    assert judgement.error == "bob@example.com: 550 5.1.1 No such user; eve@example.com: 550 5.7.1 Blocked"


def test_who_was_put_off_is_left_for_the_next_try() -> None:
    judgement = judge(taken_but(bob=FULL, eve=NO_USER), first_try(ADA, BOB, EVE))

    assert ends(judgement) == {ADA: ("sent", 250), EVE: ("bounced", 550)}
    assert (judgement.status, judgement.bounced) == (DELAYED, {EVE: NO_USER})
    assert Progress([ADA, BOB, EVE], judgement.settled, 2).pending == [BOB]


def test_the_next_try_settles_those_that_were_left_and_no_others() -> None:
    before = judge(taken_but(bob=FULL), first_try(ADA, BOB)).settled

    now = Reply(250, "Now")

    judgement = judge(Outcome(reply=now), Progress([ADA, BOB], before, 2))

    assert judgement == Verdict(SENT, 2, "", {ADA: settled_as(SENT, TAKEN), BOB: settled_as(SENT, now)}, reply=now)


def test_what_is_said_of_a_mail_to_several_is_said_of_no_one_of_them() -> None:
    judgement = judge(Outcome("SMTPDataError: no user", PERMANENT, NO_USER), first_try(ADA, BOB))

    assert (ends(judgement), judgement.bounced) == ({ADA: ("failed", 550), BOB: ("failed", 550)}, {})


def test_the_only_one_left_is_whom_the_relay_speaks_of() -> None:
    progress = Progress([ADA, BOB], {ADA: settled_as(SENT, TAKEN)}, 2)

    judgement = judge(Outcome("SMTPDataError: no user", PERMANENT, NO_USER), progress)

    assert (judgement.status, ends(judgement)) == (SENT, {ADA: ("sent", 250), BOB: ("bounced", 550)})
    assert judgement.bounced == {BOB: NO_USER}


def test_refused_for_good_by_some_and_put_off_by_others_is_tried_again_for_the_others() -> None:
    judgement = judge(refused(TRANSIENT, ada=NO_USER, bob=FULL), first_try(ADA, BOB))

    assert (ends(judgement), judgement.bounced) == ({ADA: ("bounced", 550)}, {ADA: NO_USER})


@pytest.mark.parametrize(
    ("outcome", "status", "settled"),
    [
        (taken_but(bob=FULL), SENT, {ADA: ("sent", 250), BOB: ("failed", 452)}),
        (refused(TRANSIENT, ada=LATER, bob=FULL), FAILED, {ADA: ("failed", 451), BOB: ("failed", 452)}),
        (Outcome("SMTPDataError: later", TRANSIENT, LATER), FAILED, {ADA: ("failed", 451), BOB: ("failed", 451)}),
        (Outcome("SMTPServerDisconnected: gone", TRANSIENT), FAILED, {ADA: ("failed", None), BOB: ("failed", None)}),
    ],
)
def test_after_the_last_chance_nobody_is_left(
    outcome: Outcome, status: Status, settled: dict[str, tuple[str, int | None]]
) -> None:
    judgement = verdict(outcome, first_try(ADA, BOB), now=NOW, jitter=MIDDLE, delays=())

    assert (judgement.status, ends(judgement)) == (status, settled)
    assert (judgement.next_attempt_at, judgement.bounced) == (None, {})


# The reply that explains it


@pytest.mark.parametrize(
    ("outcome", "status", "reply"),
    [
        (taken_but(bob=NO_USER, eve=LATER), DELAYED, LATER),
        (taken_but(bob=FULL, eve=LATER), DELAYED, FULL),
        (taken_but(bob=NO_USER, eve=BLOCKED), SENT, TAKEN),
        (refused(TRANSIENT, ada=NO_USER, bob=NO_USER, eve=LATER), DELAYED, LATER),
        (refused(PERMANENT, ada=NO_USER, bob=BLOCKED, eve=NO_USER), FAILED, BLOCKED),
        (refused(PERMANENT, ada=NO_USER, bob=NO_USER, eve=NO_USER), BOUNCED, NO_USER),
        (Outcome("later", TRANSIENT, LATER), DELAYED, LATER),
        (Outcome("gone", TRANSIENT), DELAYED, None),
        (Outcome("no route", Fault.RELAY), QUEUED, None),
        (Outcome(refusals={BOB: NO_USER}), SENT, None),  # a backend that says nothing of whom it took
    ],
)
def test_the_reply_is_of_a_recipient_that_has_the_mails_status(outcome: Outcome, status: Status, reply: Reply | None) -> None:
    judgement = judge(outcome, first_try(ADA, BOB, EVE))

    assert (judgement.status, judgement.reply) == (status, reply)


@pytest.mark.parametrize(
    ("settled", "status", "reply"),
    [
        ({ADA: settled_as(SENT, TAKEN)}, SENT, TAKEN),
        ({ADA: settled_as(SENT)}, SENT, None),
        ({ADA: settled_as(BOUNCED, NO_USER)}, FAILED, LATER),
        ({ADA: settled_as(FAILED, BLOCKED)}, FAILED, LATER),  # the last try's before an earlier one's
    ],
)
def test_a_last_try_that_fails_is_not_what_the_mail_was_sent_with(settled: Settled, status: Status, reply: Reply | None) -> None:
    last = Progress([ADA, BOB], settled, 2)

    judgement = verdict(Outcome("451 4.3.0 Later", TRANSIENT, LATER), last, now=NOW, jitter=MIDDLE, delays=())

    assert (judgement.status, judgement.reply, judgement.refusals) == (status, reply, {BOB: LATER})


# The error


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (refused(PERMANENT, ada=NO_USER, bob=NO_USER), "550 5.1.1 No such user"),
        (
            refused(TRANSIENT, ada=NO_USER, bob=LATER),
            "ada@example.com: 550 5.1.1 No such user; bob@example.com: 451 4.3.0 Later",
        ),
        (taken_but(bob=LATER), "bob@example.com: 451 4.3.0 Later"),
        (Outcome("552 Too big", PERMANENT, Reply(552, "Too big")), "552 Too big"),
        (Outcome("gone", TRANSIENT, None, {BOB: BLOCKED}), "bob@example.com: 550 5.7.1 Blocked; gone"),
    ],
)
def test_the_error_names_whom_it_means_unless_that_is_everybody(outcome: Outcome, error: str) -> None:
    assert judge(outcome, first_try(ADA, BOB)).error == error


# When


@pytest.mark.parametrize(
    ("outcome", "minutes"),
    [
        (taken_but(ada=Reply(451, "try again in 10 minutes"), bob=Reply(451, "try again in 20 minutes")), 20),
        (taken_but(ada=Reply(451, "try again in 20 minutes"), bob=Reply(451, "try again in 10 minutes")), 20),
        (Outcome("later", TRANSIENT, Reply(451, "try again in 10 minutes")), 10),
        (Outcome("later", TRANSIENT, Reply(451, "try again in 10 seconds")), 1),
        (Outcome("later", TRANSIENT, LATER), 1),
    ],
)
def test_the_longest_wait_that_was_asked_for_is_kept(outcome: Outcome, minutes: int) -> None:
    assert judge(outcome, first_try(ADA, BOB, EVE)).next_attempt_at == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 1), (2, 5), (3, 15)])
def test_each_try_waits_longer(attempts: int, minutes: int) -> None:
    progress = replace(first_try(ADA), attempts=attempts)

    assert judge(Outcome("gone", TRANSIENT), progress).next_attempt_at == NOW + timedelta(minutes=minutes)


# The end of a mail


@pytest.mark.parametrize(
    ("statuses", "end"),
    [
        ([SENT, FAILED, BOUNCED, Status.SUPPRESSED], SENT),
        ([BOUNCED, FAILED, Status.SUPPRESSED], FAILED),
        ([Status.SUPPRESSED, BOUNCED], BOUNCED),
        ([Status.SUPPRESSED, Status.SUPPRESSED], Status.SUPPRESSED),
    ],
)
def test_the_best_end_of_a_recipient_is_the_mails(statuses: list[Status], end: Status) -> None:
    assert end_of_all({f"{number}@example.com": settled_as(status) for number, status in enumerate(statuses)}) == end
