"""Writing down what became of attempts."""

import asyncio
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from project.bridge.database.group_commit import GroupCommit
from project.bridge.database.transactions import run_in_transaction
from project.delivery.claim import claim_emails, requeue_abandoned
from project.delivery.decision import DeliveryDecision
from project.delivery.record_results import Attempt, LeaseLost, record_results
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.suppressions.models import Suppression
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER, Claim
from tests.project.transports.fake_relay import order, queue

ADA, BOB = "ada@example.com", "bob@example.com"
TAKEN = SendResult(reply=Reply(250, "2.0.0 Taken"))
LATER = SendResult("SMTPDataError: later", FailureKind.TEMPORARY, Reply(451, "4.3.0 Later"))
NO_USER = SendResult("SMTPRecipientsRefused: ada", FailureKind.PERMANENT, Reply(550, "5.1.1 No such user"))


def record(email: Email, result: SendResult) -> None:
    """Write down one attempt."""
    record_results([Attempt(email, result, NOW)])
    email.refresh_from_db()


def claimed(count: int, *to: str) -> list[Email]:
    """Mails in an engine's hands."""
    queue(*[order(*to) for _ in range(count)])
    return claim_emails(WORKER, limit=count, now=NOW)


def last_event(email: Email) -> Event:
    """What happened to a mail last."""
    event = email.events.last()
    assert event is not None
    return event


# What becomes of the mail


@pytest.mark.pitfall(28)
def test_a_sent_mail_is_written_down(claim: Claim) -> None:
    email = claim()

    record(email, TAKEN)

    assert (email.status, email.sent_at, email.last_error, email.attempts) == (Status.SENT, NOW, "", 1)
    assert (email.claimed_by, email.lease_expires_at) == ("", None)


def test_a_success_clears_the_error_of_an_earlier_try(claim: Claim) -> None:
    email = claim()
    Email.objects.update(last_error="it failed")

    record(email, TAKEN)

    assert email.last_error == ""


def test_a_try_that_may_pass_is_followed_by_another(claim: Claim) -> None:
    email = claim()

    record(email, LATER)

    assert (email.status, email.next_attempt_at, email.sent_at) == (Status.DELAYED, NOW + timedelta(minutes=1), None)
    assert claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=59)) == []
    assert claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=60)) == [email]


def test_the_delays_are_those_of_the_settings(claim: Claim, settings: Settings) -> None:
    settings.RETRY_DELAYS = (timedelta(seconds=30),)
    email = claim()

    record(email, LATER)
    first, due = email.status, email.next_attempt_at
    (email,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=30))
    record(email, LATER)

    assert (first, due) == (Status.DELAYED, NOW + timedelta(seconds=30))
    assert (email.status, email.next_attempt_at, email.attempts) == (Status.FAILED, None, 2)


def test_a_relay_that_asks_to_wait_is_left_alone_for_so_long(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("later", FailureKind.TEMPORARY, Reply(451, "try again in 10 minutes")))

    assert email.next_attempt_at == NOW + timedelta(minutes=10)


@pytest.mark.pitfall(29)
def test_a_relay_that_does_not_work_costs_the_mail_no_chance(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE))

    assert (email.status, email.attempts, email.last_error) == (Status.QUEUED, 0, "SMTPConnectError: no route")
    assert (email.sent_at, email.claimed_by, email.lease_expires_at) == (None, "", None)


@pytest.mark.usefixtures("lent")
def test_a_mail_that_was_taken_for_some_goes_only_to_the_others_the_next_time() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Taken"), rejections={BOB: Reply(452, "4.2.2 Full")}))
    (again,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(minutes=1))

    assert (email.status, email.last_error) == (Status.DELAYED, f"{BOB}: 452 4.2.2 Full")
    assert (again.pending_recipients, again.attempts) == ([BOB], 2)


# Many at once


@pytest.mark.usefixtures("lent")
def test_writes_down_many_of_all_kinds_at_once() -> None:
    emails = claimed(5)
    results = [TAKEN, NO_USER, LATER, TAKEN, SendResult("no route", FailureKind.RELAY_UNAVAILABLE)]

    record_results([Attempt(email, result, NOW) for email, result in zip(emails, results, strict=True)])

    assert list(Email.objects.order_by("id").values_list("status", "attempts")) == [
        (Status.SENT, 1),
        (Status.BOUNCED, 1),
        (Status.DELAYED, 1),
        (Status.SENT, 1),
        (Status.QUEUED, 0),
    ]
    statuses = [last_event(email).type for email in emails]
    assert statuses == ["email.sent", "email.bounced", "email.delayed", "email.sent", "email.queued"]


@pytest.mark.anyio
@pytest.mark.usefixtures("lent")
async def test_a_mail_in_other_hands_is_left_alone_and_the_others_are_written_down() -> None:
    late, *others = await run_in_transaction(claimed, 3)
    await run_in_transaction(Email.objects.filter(id=late.id).update, claimed_by="quick")

    commits: GroupCommit[Attempt, DeliveryDecision] = GroupCommit(record_results)

    done = await asyncio.gather(*(commits.run(Attempt(email, TAKEN, NOW)) for email in (late, *others)), return_exceptions=True)

    assert [type(answer) for answer in done] == [LeaseLost, DeliveryDecision, DeliveryDecision]
    assert await run_in_transaction(lambda: [email.status for email in Email.objects.order_by("id")]) == [
        "sending",
        "sent",
        "sent",
    ]
    assert await run_in_transaction(Event.objects.filter(type="email.sent").count) == 2


@pytest.mark.parametrize("result", [TAKEN, NO_USER, LATER])
def test_writes_nothing_down_for_a_mail_that_another_engine_took_over(claim: Claim, result: SendResult) -> None:
    late = claim(worker="late")
    requeue_abandoned(["late"], now=NOW)
    claim_emails("quick", limit=1, now=NOW)
    before = Event.objects.count()

    with pytest.raises(LeaseLost), transaction.atomic():
        record(late, result)

    late.refresh_from_db()
    assert (late.status, late.claimed_by, Event.objects.count()) == (Status.SENDING, "quick", before)
    assert not Suppression.objects.exists()


@pytest.mark.usefixtures("lent")
def test_its_statements_do_not_grow_with_the_mails_that_are_plainly_sent() -> None:
    counts = []
    for number in (1, 50):
        emails = claimed(number)
        with CaptureQueriesContext(connection) as queries:
            record_results([Attempt(email, TAKEN, NOW) for email in emails])
        counts.append(len(queries))

    assert counts == [2, 2]


def test_an_attempt_whose_transaction_failed_is_judged_the_same_again(claim: Claim) -> None:
    attempt = Attempt(claim(), SendResult("no route", FailureKind.RELAY_UNAVAILABLE), NOW)
    with transaction.atomic():
        record_results([attempt])
        transaction.set_rollback(True)

    record_results([attempt])

    assert (Email.objects.get().status, Email.objects.get().attempts) == (Status.QUEUED, 0)


# What is said of it


def test_an_event_tells_what_the_relay_said(claim: Claim) -> None:
    email = claim()

    record(email, SendResult(reply=Reply(250, "2.0.0 Taken"), smtp_transcript="C: MAIL FROM:<a@b.example>\nS: 250 OK"))

    event = last_event(email)
    assert (event.type, event.created_at, event.data["attempt"]) == ("email.sent", NOW, 1)
    assert (event.data["smtp_code"], event.data["response"], "refused" in event.data) == (250, "2.0.0 Taken", False)
    assert event.smtp_transcript == "C: MAIL FROM:<a@b.example>\nS: 250 OK"


@pytest.mark.usefixtures("lent")
def test_an_event_names_who_was_refused() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Taken"), rejections={BOB: Reply(550, "5.7.1 Blocked")}))

    assert last_event(email).data["refused"] == {BOB: {"smtp_code": 550, "response": "5.7.1 Blocked"}}


@pytest.mark.usefixtures("lent")
def test_a_mail_that_is_taken_for_some_tells_what_keeps_it_from_the_others(settings: Settings) -> None:
    settings.RETRY_DELAYS = (timedelta(minutes=1),)
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "2.0.0 Taken"), rejections={BOB: Reply(451, "4.3.0 Later")}))
    delayed = last_event(email)
    (email,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(minutes=1))
    record(email, LATER)
    sent = last_event(email)

    assert (delayed.type, delayed.data["smtp_code"], delayed.data["response"]) == ("email.delayed", 451, "4.3.0 Later")
    assert (sent.type, sent.data["smtp_code"], sent.data["response"]) == ("email.sent", 250, "2.0.0 Taken")
    assert sent.data["refused"] == {BOB: {"smtp_code": 451, "response": "4.3.0 Later"}}


# The suppression list


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.3", "5.5.0"])
def test_an_address_that_is_bad_is_suppressed(claim: Claim, code: str) -> None:
    email = claim()

    record(email, SendResult("refused", FailureKind.PERMANENT, Reply(550, f"{code} No such user")))

    suppression = Suppression.objects.get()
    assert (email.status, suppression.address, suppression.email) == (Status.BOUNCED, ADA, email)
    assert (suppression.reason, suppression.created_at) == (f"550 {code} No such user", NOW)


@pytest.mark.parametrize(
    "text", ["5.7.1 Blocked", "5.2.2 Full", "5.1.10 Null MX", "5.1.0 Bad", "No such user", "4.1.1 No such user"]
)
def test_an_address_that_was_refused_for_anything_else_is_not_suppressed(claim: Claim, text: str) -> None:
    email = claim()

    record(email, SendResult("refused", FailureKind.PERMANENT, Reply(550, text)))

    assert (email.status, Suppression.objects.exists()) == (Status.FAILED, False)


@pytest.mark.usefixtures("lent")
def test_only_the_recipient_that_is_bad_is_suppressed() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Taken"), rejections={BOB: Reply(550, "5.1.1 No such user")}))

    assert (email.status, [each.address for each in Suppression.objects.all()]) == (Status.SENT, [BOB])


@pytest.mark.usefixtures("lent")
def test_no_bounce_suppresses_an_address_of_the_simulator() -> None:
    (email,) = claimed(1, "Bounce@Simulator.test")

    record(email, SendResult("refused", FailureKind.PERMANENT, Reply(550, "5.1.1 No such mailbox")))

    assert (email.status, Suppression.objects.exists()) == (Status.BOUNCED, False)
