"""Storing the results of delivery attempts."""

import asyncio
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from project.bridge.database.group_commit import GroupCommit
from project.bridge.database.transactions import run_in_transaction
from project.delivery.abandoned import Verdict, requeue_abandoned
from project.delivery.claim import claim_emails
from project.delivery.decision import DeliveryDecision
from project.delivery.record_results import Attempt, LeaseLost, record_results
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.suppressions.models import Suppression
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER, Claim
from tests.project.transports.fake_relay import new_email, queue

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
ACCEPTED = SendResult(reply=Reply(250, "2.0.0 Accepted"))
LATER = SendResult("SMTPDataError: later", FailureKind.TEMPORARY, Reply(451, "4.3.0 Later"))
NO_USER = SendResult("SMTPRecipientsRefused: ada", FailureKind.PERMANENT, Reply(550, "5.1.1 No such user"))


def record(email: Email, result: SendResult) -> None:
    """Store the result of one delivery attempt."""
    record_results([Attempt(email, result, NOW)])
    email.refresh_from_db()


def claimed(count: int, *to: str) -> list[Email]:
    """Queue emails, claim them for a worker, and return them."""
    queue(*[new_email(*to) for _ in range(count)])
    return claim_emails(WORKER, limit=count, now=NOW)


def last_event(email: Email) -> Event:
    """Return the latest event of an email."""
    event = email.events.last()
    assert event is not None
    return event


# The email's new state


@pytest.mark.pitfall(28)
def test_stores_a_sent_email(claim: Claim) -> None:
    email = claim()

    record(email, ACCEPTED)

    assert (email.status, email.sent_at, email.last_error, email.attempts) == (Status.SENT, NOW, "", 1)
    assert (email.claimed_by, email.lease_expires_at) == ("", None)


def test_a_success_clears_the_error_of_an_earlier_attempt(claim: Claim) -> None:
    email = claim()
    Email.objects.update(last_error="it failed")

    record(email, ACCEPTED)

    assert email.last_error == ""


def test_retries_after_a_451(claim: Claim) -> None:
    email = claim()

    record(email, LATER)

    assert (email.status, email.next_attempt_at, email.sent_at) == (Status.DELAYED, NOW + timedelta(minutes=1), None)
    assert claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=59)) == []
    assert claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=60)) == [email]


def test_uses_the_retry_delays_of_the_settings(claim: Claim, settings: Settings) -> None:
    settings.RETRY_DELAYS = (timedelta(seconds=30),)
    email = claim()

    record(email, LATER)
    first, due = email.status, email.next_attempt_at
    (email,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(seconds=30))
    record(email, LATER)

    assert (first, due) == (Status.DELAYED, NOW + timedelta(seconds=30))
    assert (email.status, email.next_attempt_at, email.attempts) == (Status.FAILED, None, 2)


def test_waits_as_long_as_the_relay_requested(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("later", FailureKind.TEMPORARY, Reply(451, "try again in 10 minutes")))

    assert email.next_attempt_at == NOW + timedelta(minutes=10)


@pytest.mark.pitfall(29)
def test_an_unavailable_relay_uses_up_no_attempt(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE))

    assert (email.status, email.attempts, email.last_error) == (Status.QUEUED, 0, "SMTPConnectError: no route")
    assert (email.sent_at, email.claimed_by, email.lease_expires_at) == (None, "", None)


@pytest.mark.usefixtures("shared_test_connection")
def test_retries_only_recipients_that_were_not_reached() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(452, "4.2.2 Full")}))
    (again,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(minutes=1))

    assert (email.status, email.last_error) == (Status.DELAYED, f"{BOB}: 452 4.2.2 Full")
    assert (again.pending_recipients, again.attempts) == ([BOB], 2)


# Several results at once


@pytest.mark.usefixtures("shared_test_connection")
def test_stores_results_of_all_kinds_at_once() -> None:
    emails = claimed(5)
    results = [ACCEPTED, NO_USER, LATER, ACCEPTED, SendResult("no route", FailureKind.RELAY_UNAVAILABLE)]

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
@pytest.mark.usefixtures("shared_test_connection")
async def test_a_lost_lease_does_not_affect_the_other_results() -> None:
    lost, *others = await run_in_transaction(claimed, 3)
    await run_in_transaction(Email.objects.filter(id=lost.id).update, claimed_by="second")

    commits: GroupCommit[Attempt, DeliveryDecision] = GroupCommit(record_results)

    results = await asyncio.gather(
        *(commits.run(Attempt(email, ACCEPTED, NOW)) for email in (lost, *others)), return_exceptions=True
    )

    assert [type(result) for result in results] == [LeaseLost, DeliveryDecision, DeliveryDecision]
    assert await run_in_transaction(lambda: [email.status for email in Email.objects.order_by("id")]) == [
        "sending",
        "sent",
        "sent",
    ]
    assert await run_in_transaction(Event.objects.filter(type="email.sent").count) == 2


@pytest.mark.parametrize("result", [ACCEPTED, NO_USER, LATER])
def test_raises_lease_lost_for_an_email_that_another_worker_claimed(claim: Claim, result: SendResult) -> None:
    email = claim(worker="first")
    requeue_abandoned(Verdict(ended=["first"]), sending={"first": ()}, now=NOW)
    claim_emails("second", limit=1, now=NOW)
    before = Event.objects.count()

    with pytest.raises(LeaseLost), transaction.atomic():
        record(email, result)

    email.refresh_from_db()
    assert (email.status, email.claimed_by, Event.objects.count()) == (Status.SENDING, "second", before)
    assert not Suppression.objects.exists()


@pytest.mark.usefixtures("shared_test_connection")
def test_the_number_of_statements_is_constant_for_sent_emails() -> None:
    counts = []
    for number in (1, 50):
        emails = claimed(number)
        with CaptureQueriesContext(connection) as queries:
            record_results([Attempt(email, ACCEPTED, NOW) for email in emails])
        counts.append(len(queries))

    assert counts == [2, 2]


def test_a_rolled_back_attempt_gets_the_same_decision_again(claim: Claim) -> None:
    attempt = Attempt(claim(), SendResult("no route", FailureKind.RELAY_UNAVAILABLE), NOW)
    with transaction.atomic():
        record_results([attempt])
        transaction.set_rollback(True)

    record_results([attempt])

    assert (Email.objects.get().status, Email.objects.get().attempts) == (Status.QUEUED, 0)


# Reasons


def test_stores_the_reason_of_a_failure(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("rejected", FailureKind.PERMANENT, Reply(550, "5.1.1 <ada@example.com>: No such user")))

    assert email.reason == "550 5.1.1 …: No such user"


def test_the_reason_ends_when_the_email_is_sent(claim: Claim) -> None:
    email = claim()
    record(email, LATER)
    delayed = email.reason
    (email,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(hours=1))

    record(email, ACCEPTED)

    assert (delayed, email.status, email.reason) == ("451 4.3.0 Later", Status.SENT, None)


def test_an_unavailable_relay_is_a_reason(claim: Claim) -> None:
    email = claim()

    record(email, SendResult("ConnectionRefusedError: 127.0.0.1:25", FailureKind.RELAY_UNAVAILABLE))

    assert (email.status, email.reason) == (Status.QUEUED, "ConnectionRefusedError: …")


@pytest.mark.usefixtures("shared_test_connection")
def test_a_partly_sent_email_has_the_reason_of_the_rejected_recipient() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(550, "5.7.1 User bob is blocked")}))

    assert (email.status, email.reason) == (Status.SENT, "550 5.7.1 User … is blocked")


# Events


def test_an_event_holds_the_relays_reply(claim: Claim) -> None:
    email = claim()

    record(email, SendResult(reply=Reply(250, "2.0.0 Accepted"), smtp_transcript="C: MAIL FROM:<a@b.example>\nS: 250 OK"))

    event = last_event(email)
    assert (event.type, event.created_at, event.data["attempt"]) == ("email.sent", NOW, 1)
    assert (event.data["smtp_code"], event.data["response"], "refused" in event.data) == (250, "2.0.0 Accepted", False)
    assert event.smtp_transcript == "C: MAIL FROM:<a@b.example>\nS: 250 OK"


# Results that differ by recipient


def story(email: Email) -> list[tuple[str, str, list[str]]]:
    """Return the type, the email's status and the named recipients of each event of an attempt's result, in order."""
    events = email.events.exclude(type__in=["email.queued", "email.sending"]).order_by("id")
    return [(event.type, event.data["status"], event.data.get("recipients", [])) for event in events]


@pytest.mark.usefixtures("shared_test_connection")
def test_an_event_lists_rejected_recipients() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(550, "5.7.1 Blocked")}))

    failed, sent = email.events.order_by("id")[2:]
    assert story(email) == [("email.failed", "sent", [BOB]), ("email.sent", "sent", [ADA])]
    assert failed.data["refused"] == sent.data["refused"] == {BOB: {"smtp_code": 550, "response": "5.7.1 Blocked"}}
    assert (failed.data["smtp_code"], sent.data["smtp_code"]) == (550, 250)


@pytest.mark.usefixtures("shared_test_connection")
def test_an_email_is_sent_when_the_first_recipient_is_accepted_and_fails_for_the_last_one_when_it_fails(
    settings: Settings,
) -> None:
    settings.RETRY_DELAYS = (timedelta(minutes=1),)
    (email,) = claimed(1, ADA, BOB)
    record(email, SendResult(reply=Reply(250, "2.0.0 Accepted"), rejections={BOB: Reply(451, "4.3.0 Later")}))
    early = (email.status, email.sent_at)

    (again,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(minutes=1))
    record_results([Attempt(again, LATER, NOW + timedelta(minutes=1))])

    email.refresh_from_db()
    assert (early, email.status, email.sent_at) == ((Status.DELAYED, NOW), Status.SENT, NOW)
    assert story(email) == [
        ("email.sent", "delayed", [ADA]),
        ("email.delayed", "delayed", [BOB]),
        ("email.failed", "sent", [BOB]),
    ]
    assert [event.data["smtp_code"] for event in email.events.exclude(data__smtp_code=None).order_by("id")] == [250, 451, 451]


@pytest.mark.usefixtures("shared_test_connection")
def test_each_recipient_has_the_time_of_its_own_result() -> None:
    (email,) = claimed(1, ADA, BOB)
    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(451, "4.3.0 Later")}))
    pending = [each["finished_at"] for each in email.recipient_statuses]
    later = NOW + timedelta(hours=1)
    (again,) = claim_emails(WORKER, limit=1, now=later)

    record_results([Attempt(again, ACCEPTED, later)])

    email.refresh_from_db()
    assert pending == [NOW.isoformat(), None]
    assert [each["finished_at"] for each in email.recipient_statuses] == [NOW.isoformat(), later.isoformat()]
    assert (email.status, email.sent_at) == (Status.SENT, NOW)


@pytest.mark.parametrize(
    ("rejections", "expected"),
    [
        ({}, [("email.sent", "sent", [])]),
        ({BOB: NO_USER.reply}, [("email.bounced", "sent", [BOB]), ("email.sent", "sent", [ADA, EVE])]),
        (
            {BOB: NO_USER.reply, EVE: LATER.reply},
            [("email.sent", "delayed", [ADA]), ("email.bounced", "delayed", [BOB]), ("email.delayed", "delayed", [EVE])],
        ),
    ],
)
@pytest.mark.usefixtures("shared_test_connection")
def test_one_event_for_each_kind_of_result(rejections: dict[str, Reply], expected: list[object]) -> None:
    (email,) = claimed(1, ADA, BOB, EVE)

    record(email, SendResult(reply=Reply(250, "Accepted"), rejections=rejections, smtp_transcript="C: MAIL FROM:<>"))

    assert story(email) == expected
    assert [event.smtp_transcript for event in email.events.order_by("id")][-2:] == ["", "C: MAIL FROM:<>"]


@pytest.mark.usefixtures("shared_test_connection")
def test_events_of_a_retry_name_the_recipients_that_are_retried() -> None:
    (email,) = claimed(1, ADA, BOB)
    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(451, "4.3.0 Later")}))

    (again,) = claim_emails(WORKER, limit=1, now=NOW + timedelta(hours=1))
    record_results([Attempt(again, SendResult("no route", FailureKind.RELAY_UNAVAILABLE), NOW)])

    events = email.events.order_by("-id")[:2]
    assert [(event.type, event.data["recipients"]) for event in events] == [("email.queued", [BOB]), ("email.sending", [BOB])]


# The suppression list


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.3", "5.5.0"])
def test_suppresses_a_bad_address(claim: Claim, code: str) -> None:
    email = claim()

    record(email, SendResult("rejected", FailureKind.PERMANENT, Reply(550, f"{code} No such user")))

    suppression = Suppression.objects.get()
    assert (email.status, suppression.address, suppression.email) == (Status.BOUNCED, ADA, email)
    assert (suppression.reason, suppression.created_at) == (f"550 {code} No such user", NOW)


@pytest.mark.parametrize(
    "text", ["5.7.1 Blocked", "5.2.2 Full", "5.1.10 Null MX", "5.1.0 Bad", "No such user", "4.1.1 No such user"]
)
def test_does_not_suppress_an_address_rejected_for_another_reason(claim: Claim, text: str) -> None:
    email = claim()

    record(email, SendResult("rejected", FailureKind.PERMANENT, Reply(550, text)))

    assert (email.status, Suppression.objects.exists()) == (Status.FAILED, False)


@pytest.mark.usefixtures("shared_test_connection")
def test_suppresses_only_the_bad_address() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(550, "5.1.1 No such user")}))

    assert (email.status, [suppression.address for suppression in Suppression.objects.all()]) == (Status.SENT, [BOB])


@pytest.mark.usefixtures("shared_test_connection")
def test_does_not_suppress_an_address_of_the_simulator() -> None:
    (email,) = claimed(1, "Bounce@Simulator.test")

    record(email, SendResult("rejected", FailureKind.PERMANENT, Reply(550, "5.1.1 No such mailbox")))

    assert (email.status, Suppression.objects.exists()) == (Status.BOUNCED, False)


def test_bounces_of_many_emails_lock_the_suppression_list_in_the_order_of_addresses(db: None) -> None:
    """An import locks the rows in this order too. In another order, the two could wait for each other (a deadlock)."""
    queue(new_email("zoe@example.com"), new_email("ada@example.com"))
    attempts = [Attempt(email, NO_USER, NOW) for email in claim_emails(WORKER, limit=2, now=NOW)]

    with CaptureQueriesContext(connection) as queries:
        record_results(attempts)

    inserts = [each["sql"] for each in queries if each["sql"].startswith('INSERT INTO "suppressions')]
    assert len(inserts) == 1
    assert 0 < inserts[0].index("ada@example.com") < inserts[0].index("zoe@example.com")
