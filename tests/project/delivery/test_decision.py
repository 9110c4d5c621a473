"""What an attempt's outcome makes of a mail."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from project.delivery.decision import DeliveryDecision, DeliveryState, RecipientResults, decide, overall_status, recipient_result
from project.emails.status import Status
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply

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
TRANSIENT, PERMANENT = FailureKind.TEMPORARY, FailureKind.PERMANENT


def first_try(*recipients: str) -> DeliveryState:
    """A mail that nothing was settled about."""
    return DeliveryState(recipients, {}, 1)


def judge(result: SendResult, progress: DeliveryState) -> DeliveryDecision:
    """The verdict, with the usual delays."""
    return decide(result, progress, now=NOW, jitter=MIDDLE)


def taken_but(**rejections: Reply) -> SendResult:
    """The relay took the mail, but not for these."""
    return SendResult(reply=TAKEN, rejections=_addressed(rejections))


def refused(failure_kind: FailureKind, **rejections: Reply) -> SendResult:
    """The relay took the mail for nobody, and said this of each."""
    reply = min(rejections.values(), key=lambda reply: reply.code)
    return SendResult("SMTPRecipientsRefused: all", failure_kind, reply, _addressed(rejections))


def ends(decision: DeliveryDecision) -> dict[str, tuple[str, int | None]]:
    """What became of each recipient that is settled, in short."""
    return {address: (end["status"], end["smtp_code"]) for address, end in decision.recipient_results.items()}


def _addressed(rejections: dict[str, Reply]) -> dict[str, Reply]:
    return {f"{name}@example.com": reply for name, reply in rejections.items()}


# All alike


@pytest.mark.parametrize("recipients", [[ADA], [ADA, BOB]])
def test_a_mail_that_is_taken_for_everybody_is_plainly_sent(recipients: list[str]) -> None:
    decision = judge(SendResult(reply=TAKEN), first_try(*recipients))

    assert decision == DeliveryDecision(SENT, 1, reply=TAKEN)
    assert decision.is_sent_to_all


def test_a_relay_that_does_not_work_costs_no_attempt() -> None:
    progress = DeliveryState([ADA, BOB], {BOB: recipient_result(SENT)}, 3)

    decision = judge(SendResult("no route", FailureKind.RELAY_UNAVAILABLE), progress)

    assert decision == DeliveryDecision(QUEUED, 2, "no route", {BOB: recipient_result(SENT)})


@pytest.mark.parametrize(
    ("result", "status"),
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
        (SendResult("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED),
        (SendResult("SMTPDataError: no user", PERMANENT, NO_USER), FAILED),  # it does not say which of the two
        (SendResult("SMTPDataError: later", TRANSIENT, LATER), DELAYED),
        (SendResult("SMTPServerDisconnected: gone", TRANSIENT), DELAYED),
        (SendResult("ValueError: nonsense", PERMANENT), FAILED),
    ],
)
def test_the_status_of_a_mail_to_two(result: SendResult, status: Status) -> None:
    decision = judge(result, first_try(ADA, BOB))

    assert (decision.status, decision.attempts) == (status, 1)
    assert not decision.is_sent_to_all
    assert decision.next_attempt_at == (NOW + FIRST_DELAY if status == DELAYED else None)
    assert decision.error


@pytest.mark.parametrize(
    ("result", "status", "bounced"),
    [
        (refused(PERMANENT, ada=NO_USER), BOUNCED, {ADA: NO_USER}),
        (SendResult("SMTPDataError: no user", PERMANENT, NO_USER), BOUNCED, {ADA: NO_USER}),  # whom else can it mean
        (SendResult("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED, {}),
        (SendResult("SMTPDataError: later", TRANSIENT, LATER), DELAYED, {}),
        (SendResult("SMTPServerDisconnected: gone", TRANSIENT), DELAYED, {}),
        (SendResult("ValueError: nonsense", PERMANENT), FAILED, {}),
    ],
)
def test_the_status_of_a_mail_to_one(result: SendResult, status: Status, bounced: dict[str, Reply]) -> None:
    decision = judge(result, first_try(ADA))

    assert (decision.status, decision.bounced) == (status, bounced)
    assert len(decision.recipient_results) == (status != DELAYED)


# Each recipient's own end


def test_a_sender_that_is_refused_makes_no_address_bad() -> None:
    said = Reply(550, "5.1.3 User address required")

    decision = judge(SendResult(str(said), PERMANENT, said, sender_rejected=True), first_try(ADA))

    assert (decision.status, decision.bounced, decision.reply) == (Status.FAILED, {}, said)


def test_who_was_refused_for_good_is_settled_beside_who_was_taken() -> None:
    decision = judge(taken_but(bob=NO_USER, eve=BLOCKED), first_try(ADA, BOB, EVE))

    assert decision.recipient_results == {
        ADA: recipient_result(SENT, TAKEN),
        BOB: recipient_result(BOUNCED, NO_USER),
        EVE: recipient_result(FAILED, BLOCKED),
    }
    assert (decision.bounced, decision.next_attempt_at) == ({BOB: NO_USER}, None)
    assert decision.error == "bob@example.com: 550 5.1.1 No such user; eve@example.com: 550 5.7.1 Blocked"


def test_who_was_put_off_is_left_for_the_next_try() -> None:
    decision = judge(taken_but(bob=FULL, eve=NO_USER), first_try(ADA, BOB, EVE))

    assert ends(decision) == {ADA: ("sent", 250), EVE: ("bounced", 550)}
    assert (decision.status, decision.bounced) == (DELAYED, {EVE: NO_USER})
    assert DeliveryState([ADA, BOB, EVE], decision.recipient_results, 2).pending_recipients == [BOB]


def test_the_next_try_settles_those_that_were_left_and_no_others() -> None:
    before = judge(taken_but(bob=FULL), first_try(ADA, BOB)).recipient_results

    now = Reply(250, "Now")

    decision = judge(SendResult(reply=now), DeliveryState([ADA, BOB], before, 2))

    assert decision == DeliveryDecision(
        SENT, 2, "", {ADA: recipient_result(SENT, TAKEN), BOB: recipient_result(SENT, now)}, reply=now
    )


def test_what_is_said_of_a_mail_to_several_is_said_of_no_one_of_them() -> None:
    decision = judge(SendResult("SMTPDataError: no user", PERMANENT, NO_USER), first_try(ADA, BOB))

    assert (ends(decision), decision.bounced) == ({ADA: ("failed", 550), BOB: ("failed", 550)}, {})


def test_the_only_one_left_is_whom_the_relay_speaks_of() -> None:
    progress = DeliveryState([ADA, BOB], {ADA: recipient_result(SENT, TAKEN)}, 2)

    decision = judge(SendResult("SMTPDataError: no user", PERMANENT, NO_USER), progress)

    assert (decision.status, ends(decision)) == (SENT, {ADA: ("sent", 250), BOB: ("bounced", 550)})
    assert decision.bounced == {BOB: NO_USER}


def test_refused_for_good_by_some_and_put_off_by_others_is_tried_again_for_the_others() -> None:
    decision = judge(refused(TRANSIENT, ada=NO_USER, bob=FULL), first_try(ADA, BOB))

    assert (ends(decision), decision.bounced) == ({ADA: ("bounced", 550)}, {ADA: NO_USER})


@pytest.mark.parametrize(
    ("result", "status", "recipient_results"),
    [
        (taken_but(bob=FULL), SENT, {ADA: ("sent", 250), BOB: ("failed", 452)}),
        (refused(TRANSIENT, ada=LATER, bob=FULL), FAILED, {ADA: ("failed", 451), BOB: ("failed", 452)}),
        (SendResult("SMTPDataError: later", TRANSIENT, LATER), FAILED, {ADA: ("failed", 451), BOB: ("failed", 451)}),
        (SendResult("SMTPServerDisconnected: gone", TRANSIENT), FAILED, {ADA: ("failed", None), BOB: ("failed", None)}),
    ],
)
def test_after_the_last_chance_nobody_is_left(
    result: SendResult, status: Status, recipient_results: dict[str, tuple[str, int | None]]
) -> None:
    decision = decide(result, first_try(ADA, BOB), now=NOW, jitter=MIDDLE, delays=())

    assert (decision.status, ends(decision)) == (status, recipient_results)
    assert (decision.next_attempt_at, decision.bounced) == (None, {})


# The reply that explains it


@pytest.mark.parametrize(
    ("result", "status", "reply"),
    [
        (taken_but(bob=NO_USER, eve=LATER), DELAYED, LATER),
        (taken_but(bob=FULL, eve=LATER), DELAYED, FULL),
        (taken_but(bob=NO_USER, eve=BLOCKED), SENT, TAKEN),
        (refused(TRANSIENT, ada=NO_USER, bob=NO_USER, eve=LATER), DELAYED, LATER),
        (refused(PERMANENT, ada=NO_USER, bob=BLOCKED, eve=NO_USER), FAILED, BLOCKED),
        (refused(PERMANENT, ada=NO_USER, bob=NO_USER, eve=NO_USER), BOUNCED, NO_USER),
        (SendResult("later", TRANSIENT, LATER), DELAYED, LATER),
        (SendResult("gone", TRANSIENT), DELAYED, None),
        (SendResult("no route", FailureKind.RELAY_UNAVAILABLE), QUEUED, None),
        (SendResult(rejections={BOB: NO_USER}), SENT, None),  # a backend that says nothing of whom it took
    ],
)
def test_the_reply_is_of_a_recipient_that_has_the_mails_status(result: SendResult, status: Status, reply: Reply | None) -> None:
    decision = judge(result, first_try(ADA, BOB, EVE))

    assert (decision.status, decision.reply) == (status, reply)


@pytest.mark.parametrize(
    ("recipient_results", "status", "reply"),
    [
        ({ADA: recipient_result(SENT, TAKEN)}, SENT, TAKEN),
        ({ADA: recipient_result(SENT)}, SENT, None),
        ({ADA: recipient_result(BOUNCED, NO_USER)}, FAILED, LATER),
        ({ADA: recipient_result(FAILED, BLOCKED)}, FAILED, LATER),  # the last try's before an earlier one's
    ],
)
def test_a_last_try_that_fails_is_not_what_the_mail_was_sent_with(
    recipient_results: RecipientResults, status: Status, reply: Reply | None
) -> None:
    last = DeliveryState([ADA, BOB], recipient_results, 2)

    decision = decide(SendResult("451 4.3.0 Later", TRANSIENT, LATER), last, now=NOW, jitter=MIDDLE, delays=())

    assert (decision.status, decision.reply, decision.rejections) == (status, reply, {BOB: LATER})


# The error


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (refused(PERMANENT, ada=NO_USER, bob=NO_USER), "550 5.1.1 No such user"),
        (
            refused(TRANSIENT, ada=NO_USER, bob=LATER),
            "ada@example.com: 550 5.1.1 No such user; bob@example.com: 451 4.3.0 Later",
        ),
        (taken_but(bob=LATER), "bob@example.com: 451 4.3.0 Later"),
        (SendResult("552 Too big", PERMANENT, Reply(552, "Too big")), "552 Too big"),
        (SendResult("gone", TRANSIENT, None, {BOB: BLOCKED}), "bob@example.com: 550 5.7.1 Blocked; gone"),
    ],
)
def test_the_error_names_whom_it_means_unless_that_is_everybody(result: SendResult, error: str) -> None:
    assert judge(result, first_try(ADA, BOB)).error == error


# When


@pytest.mark.parametrize(
    ("result", "minutes"),
    [
        (taken_but(ada=Reply(451, "try again in 10 minutes"), bob=Reply(451, "try again in 20 minutes")), 20),
        (taken_but(ada=Reply(451, "try again in 20 minutes"), bob=Reply(451, "try again in 10 minutes")), 20),
        (SendResult("later", TRANSIENT, Reply(451, "try again in 10 minutes")), 10),
        (SendResult("later", TRANSIENT, Reply(451, "try again in 10 seconds")), 1),
        (SendResult("later", TRANSIENT, LATER), 1),
    ],
)
def test_the_longest_wait_that_was_asked_for_is_kept(result: SendResult, minutes: int) -> None:
    assert judge(result, first_try(ADA, BOB, EVE)).next_attempt_at == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 1), (2, 5), (3, 15)])
def test_each_try_waits_longer(attempts: int, minutes: int) -> None:
    progress = replace(first_try(ADA), attempts=attempts)

    assert judge(SendResult("gone", TRANSIENT), progress).next_attempt_at == NOW + timedelta(minutes=minutes)


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
    assert overall_status({f"{number}@example.com": recipient_result(status) for number, status in enumerate(statuses)}) == end
