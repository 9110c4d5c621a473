"""Decisions about an email after a delivery attempt."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from project.delivery.decision import DeliveryDecision, DeliveryState, RecipientResults, decide, overall_status, recipient_result
from project.emails.status import Status
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
NO_JITTER = 0.5  # 0.5 is the middle of the range, and leaves a delay unchanged
FIRST_DELAY = timedelta(minutes=1)

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
ACCEPTED = Reply(250, "2.0.0 Accepted")
NO_USER = Reply(550, "5.1.1 No such user")
BLOCKED = Reply(550, "5.7.1 Blocked")
BARE = Reply(550, "No")
FULL = Reply(452, "4.2.2 Full")
LATER = Reply(451, "4.3.0 Later")

SENT, DELAYED, FAILED, BOUNCED, QUEUED = Status.SENT, Status.DELAYED, Status.FAILED, Status.BOUNCED, Status.QUEUED
TEMPORARY, PERMANENT = FailureKind.TEMPORARY, FailureKind.PERMANENT


def first_attempt(*recipients: str) -> DeliveryState:
    """Return the state of an email at its first attempt to these recipients."""
    return DeliveryState(recipients, {}, 1)


def decide_now(result: SendResult, state: DeliveryState) -> DeliveryDecision:
    """Decide at NOW, with the default retry delays and without jitter."""
    return decide(result, state, now=NOW, jitter=NO_JITTER)


def accepted_except(**rejections: Reply) -> SendResult:
    """Return the result of an email that the relay accepted for all recipients except these."""
    return SendResult(reply=ACCEPTED, rejections=_addressed(rejections))


def rejected(failure_kind: FailureKind, **rejections: Reply) -> SendResult:
    """Return the result of an email that the relay rejected for all of its recipients."""
    reply = min(rejections.values(), key=lambda reply: reply.code)
    return SendResult("SMTPRecipientsRefused: all", failure_kind, reply, _addressed(rejections))


def results_of(decision: DeliveryDecision) -> dict[str, tuple[str, int | None]]:
    """Return the status and SMTP code of each recipient with a final result."""
    return {address: (final["status"], final["smtp_code"]) for address, final in decision.recipient_results.items()}


def _addressed(rejections: dict[str, Reply]) -> dict[str, Reply]:
    return {f"{name}@example.com": reply for name, reply in rejections.items()}


# The maximum age


@pytest.mark.parametrize(("seconds", "status"), [(60, DELAYED), (59, FAILED)])
def test_does_not_retry_after_the_maximum_age(seconds: int, status: Status) -> None:
    state = DeliveryState([ADA], {}, 1, give_up_at=NOW + timedelta(seconds=seconds))

    decision = decide_now(rejected(TEMPORARY, ada=LATER), state)

    assert decision.status == status
    assert ("MAX_EMAIL_AGE" in decision.error) == (status == FAILED)


def test_does_not_blame_the_maximum_age_for_a_permanent_failure() -> None:
    state = DeliveryState([ADA], {}, 1, give_up_at=NOW)

    decision = decide_now(rejected(PERMANENT, ada=NO_USER), state)

    assert (decision.status, decision.error) == (BOUNCED, "550 5.1.1 No such user")


# The same result for all recipients


@pytest.mark.parametrize("recipients", [[ADA], [ADA, BOB]])
def test_an_email_accepted_for_all_recipients_is_sent(recipients: list[str]) -> None:
    decision = decide_now(SendResult(reply=ACCEPTED), first_attempt(*recipients))

    assert decision == DeliveryDecision(SENT, 1, reply=ACCEPTED)
    assert decision.is_sent_to_all


def test_an_unavailable_relay_uses_up_no_attempt() -> None:
    state = DeliveryState([ADA, BOB], {BOB: recipient_result(SENT)}, 3)

    decision = decide_now(SendResult("no route", FailureKind.RELAY_UNAVAILABLE), state)

    assert decision == DeliveryDecision(QUEUED, 2, "no route", {BOB: recipient_result(SENT)})


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (rejected(PERMANENT, ada=NO_USER, bob=NO_USER), BOUNCED),
        (rejected(PERMANENT, ada=BLOCKED, bob=BLOCKED), FAILED),
        (rejected(PERMANENT, ada=BARE, bob=BARE), FAILED),
        (rejected(PERMANENT, ada=NO_USER, bob=BLOCKED), FAILED),
        (rejected(TEMPORARY, ada=LATER, bob=FULL), DELAYED),
        (rejected(TEMPORARY, ada=NO_USER, bob=FULL), DELAYED),
        (accepted_except(bob=NO_USER), SENT),
        (accepted_except(bob=BLOCKED), SENT),
        (accepted_except(bob=FULL), DELAYED),
        (SendResult("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED),
        (SendResult("SMTPDataError: no user", PERMANENT, NO_USER), FAILED),  # the reply does not name the recipient
        (SendResult("SMTPDataError: later", TEMPORARY, LATER), DELAYED),
        (SendResult("SMTPServerDisconnected: gone", TEMPORARY), DELAYED),
        (SendResult("ValueError: bad value", PERMANENT), FAILED),
    ],
)
def test_the_result_decides_the_status_of_an_email_with_two_recipients(result: SendResult, status: Status) -> None:
    decision = decide_now(result, first_attempt(ADA, BOB))

    assert (decision.status, decision.attempts) == (status, 1)
    assert not decision.is_sent_to_all
    assert decision.next_attempt_at == (NOW + FIRST_DELAY if status == DELAYED else None)
    assert decision.error


@pytest.mark.parametrize(
    ("result", "status", "bounced"),
    [
        (rejected(PERMANENT, ada=NO_USER), BOUNCED, {ADA: NO_USER}),
        (SendResult("SMTPDataError: no user", PERMANENT, NO_USER), BOUNCED, {ADA: NO_USER}),  # Ada is the only recipient
        (SendResult("SMTPDataError: spam", PERMANENT, BLOCKED), FAILED, {}),
        (SendResult("SMTPDataError: later", TEMPORARY, LATER), DELAYED, {}),
        (SendResult("SMTPServerDisconnected: gone", TEMPORARY), DELAYED, {}),
        (SendResult("ValueError: bad value", PERMANENT), FAILED, {}),
    ],
)
def test_the_result_decides_the_status_of_an_email_with_one_recipient(
    result: SendResult, status: Status, bounced: dict[str, Reply]
) -> None:
    decision = decide_now(result, first_attempt(ADA))

    assert (decision.status, decision.bounced) == (status, bounced)
    assert len(decision.recipient_results) == (status != DELAYED)


# Results of single recipients


def test_a_rejected_sender_does_not_bounce_the_recipient() -> None:
    reply = Reply(550, "5.1.3 User address required")

    decision = decide_now(SendResult(str(reply), PERMANENT, reply, sender_rejected=True), first_attempt(ADA))

    assert (decision.status, decision.bounced, decision.reply) == (Status.FAILED, {}, reply)


def test_permanently_rejected_recipients_are_final_when_others_are_accepted() -> None:
    decision = decide_now(accepted_except(bob=NO_USER, eve=BLOCKED), first_attempt(ADA, BOB, EVE))

    assert decision.recipient_results == {
        ADA: recipient_result(SENT, ACCEPTED),
        BOB: recipient_result(BOUNCED, NO_USER),
        EVE: recipient_result(FAILED, BLOCKED),
    }
    assert (decision.bounced, decision.next_attempt_at) == ({BOB: NO_USER}, None)
    assert decision.error == "bob@example.com: 550 5.1.1 No such user; eve@example.com: 550 5.7.1 Blocked"


def test_a_temporarily_rejected_recipient_stays_pending() -> None:
    decision = decide_now(accepted_except(bob=FULL, eve=NO_USER), first_attempt(ADA, BOB, EVE))

    assert results_of(decision) == {ADA: ("sent", 250), EVE: ("bounced", 550)}
    assert (decision.status, decision.bounced) == (DELAYED, {EVE: NO_USER})
    assert DeliveryState([ADA, BOB, EVE], decision.recipient_results, 2).pending_recipients == [BOB]


def test_the_next_attempt_changes_only_pending_recipients() -> None:
    before = decide_now(accepted_except(bob=FULL), first_attempt(ADA, BOB)).recipient_results

    reply = Reply(250, "2.0.0 Now")
    decision = decide_now(SendResult(reply=reply), DeliveryState([ADA, BOB], before, 2))

    assert decision == DeliveryDecision(
        SENT, 2, "", {ADA: recipient_result(SENT, ACCEPTED), BOB: recipient_result(SENT, reply)}, reply=reply
    )


def test_a_reply_about_an_email_with_several_recipients_bounces_no_recipient() -> None:
    decision = decide_now(SendResult("SMTPDataError: no user", PERMANENT, NO_USER), first_attempt(ADA, BOB))

    assert (results_of(decision), decision.bounced) == ({ADA: ("failed", 550), BOB: ("failed", 550)}, {})


def test_a_reply_about_an_email_applies_to_the_only_pending_recipient() -> None:
    state = DeliveryState([ADA, BOB], {ADA: recipient_result(SENT, ACCEPTED)}, 2)

    decision = decide_now(SendResult("SMTPDataError: no user", PERMANENT, NO_USER), state)

    assert (decision.status, results_of(decision)) == (SENT, {ADA: ("sent", 250), BOB: ("bounced", 550)})
    assert decision.bounced == {BOB: NO_USER}


def test_retries_only_the_temporarily_rejected_recipients() -> None:
    decision = decide_now(rejected(TEMPORARY, ada=NO_USER, bob=FULL), first_attempt(ADA, BOB))

    assert (results_of(decision), decision.bounced) == ({ADA: ("bounced", 550)}, {ADA: NO_USER})


@pytest.mark.parametrize(
    ("result", "status", "recipient_results"),
    [
        (accepted_except(bob=FULL), SENT, {ADA: ("sent", 250), BOB: ("failed", 452)}),
        (rejected(TEMPORARY, ada=LATER, bob=FULL), FAILED, {ADA: ("failed", 451), BOB: ("failed", 452)}),
        (SendResult("SMTPDataError: later", TEMPORARY, LATER), FAILED, {ADA: ("failed", 451), BOB: ("failed", 451)}),
        (SendResult("SMTPServerDisconnected: gone", TEMPORARY), FAILED, {ADA: ("failed", None), BOB: ("failed", None)}),
    ],
)
def test_no_recipient_is_pending_after_the_last_attempt(
    result: SendResult, status: Status, recipient_results: dict[str, tuple[str, int | None]]
) -> None:
    decision = decide(result, first_attempt(ADA, BOB), now=NOW, jitter=NO_JITTER, delays=())

    assert (decision.status, results_of(decision)) == (status, recipient_results)
    assert (decision.next_attempt_at, decision.bounced) == (None, {})


# The reply that explains the status


@pytest.mark.parametrize(
    ("result", "status", "reply"),
    [
        (accepted_except(bob=NO_USER, eve=LATER), DELAYED, LATER),
        (accepted_except(bob=FULL, eve=LATER), DELAYED, FULL),
        (accepted_except(bob=NO_USER, eve=BLOCKED), SENT, ACCEPTED),
        (rejected(TEMPORARY, ada=NO_USER, bob=NO_USER, eve=LATER), DELAYED, LATER),
        (rejected(PERMANENT, ada=NO_USER, bob=BLOCKED, eve=NO_USER), FAILED, BLOCKED),
        (rejected(PERMANENT, ada=NO_USER, bob=NO_USER, eve=NO_USER), BOUNCED, NO_USER),
        (SendResult("later", TEMPORARY, LATER), DELAYED, LATER),
        (SendResult("gone", TEMPORARY), DELAYED, None),
        (SendResult("no route", FailureKind.RELAY_UNAVAILABLE), QUEUED, None),
        (SendResult(rejections={BOB: NO_USER}), SENT, None),  # the backend has no reply for accepted recipients
    ],
)
def test_the_reply_is_about_a_recipient_with_the_emails_status(result: SendResult, status: Status, reply: Reply | None) -> None:
    decision = decide_now(result, first_attempt(ADA, BOB, EVE))

    assert (decision.status, decision.reply) == (status, reply)


@pytest.mark.parametrize(
    ("recipient_results", "status", "reply"),
    [
        ({ADA: recipient_result(SENT, ACCEPTED)}, SENT, ACCEPTED),
        ({ADA: recipient_result(SENT)}, SENT, None),
        ({ADA: recipient_result(BOUNCED, NO_USER)}, FAILED, LATER),
        ({ADA: recipient_result(FAILED, BLOCKED)}, FAILED, LATER),  # the reply to the last attempt takes precedence
    ],
)
def test_a_failed_last_attempt_does_not_explain_a_sent_email(
    recipient_results: RecipientResults, status: Status, reply: Reply | None
) -> None:
    last = DeliveryState([ADA, BOB], recipient_results, 2)

    decision = decide(SendResult("451 4.3.0 Later", TEMPORARY, LATER), last, now=NOW, jitter=NO_JITTER, delays=())

    assert (decision.status, decision.reply, decision.rejections) == (status, reply, {BOB: LATER})


# The error


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (rejected(PERMANENT, ada=NO_USER, bob=NO_USER), "550 5.1.1 No such user"),
        (
            rejected(TEMPORARY, ada=NO_USER, bob=LATER),
            "ada@example.com: 550 5.1.1 No such user; bob@example.com: 451 4.3.0 Later",
        ),
        (accepted_except(bob=LATER), "bob@example.com: 451 4.3.0 Later"),
        (SendResult("552 Too big", PERMANENT, Reply(552, "Too big")), "552 Too big"),
        (SendResult("gone", TEMPORARY, None, {BOB: BLOCKED}), "bob@example.com: 550 5.7.1 Blocked; gone"),
    ],
)
def test_the_error_names_the_recipients_unless_all_have_the_same_error(result: SendResult, error: str) -> None:
    assert decide_now(result, first_attempt(ADA, BOB)).error == error


# The next attempt


@pytest.mark.parametrize(
    ("result", "minutes"),
    [
        (accepted_except(ada=Reply(451, "try again in 10 minutes"), bob=Reply(451, "try again in 20 minutes")), 20),
        (accepted_except(ada=Reply(451, "try again in 20 minutes"), bob=Reply(451, "try again in 10 minutes")), 20),
        (SendResult("later", TEMPORARY, Reply(451, "try again in 10 minutes")), 10),
        (SendResult("later", TEMPORARY, Reply(451, "try again in 10 seconds")), 1),
        (SendResult("later", TEMPORARY, LATER), 1),
    ],
)
def test_uses_the_longest_requested_delay(result: SendResult, minutes: int) -> None:
    assert decide_now(result, first_attempt(ADA, BOB, EVE)).next_attempt_at == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 1), (2, 5), (3, 15)])
def test_each_retry_waits_longer(attempts: int, minutes: int) -> None:
    state = replace(first_attempt(ADA), attempts=attempts)

    assert decide_now(SendResult("gone", TEMPORARY), state).next_attempt_at == NOW + timedelta(minutes=minutes)


# The email's final status


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        ([SENT, FAILED, BOUNCED, Status.SUPPRESSED], SENT),
        ([BOUNCED, FAILED, Status.SUPPRESSED], FAILED),
        ([Status.SUPPRESSED, BOUNCED], BOUNCED),
        ([Status.SUPPRESSED, Status.SUPPRESSED], Status.SUPPRESSED),
    ],
)
def test_the_email_gets_the_best_status_of_its_recipients(statuses: list[Status], overall: Status) -> None:
    results = {f"{number}@example.com": recipient_result(status) for number, status in enumerate(statuses)}

    assert overall_status(results) == overall
