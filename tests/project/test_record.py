"""Writing down what became of attempts."""

import asyncio
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from project.bridge import database
from project.bridge.commits import SharedCommits
from project.outbox.claim import claim_emails, requeue_abandoned
from project.outbox.models import Email, Event, Suppression
from project.outbox.outcomes import Outcome, Verdict
from project.outbox.record import Attempt, NotInHand, record_outcomes
from project.outbox.replies import Reply
from project.outbox.retry import Fault
from project.outbox.states import Status
from tests.project.conftest import ENGINE, NOW, Claim
from tests.project.relays import order, queue

ADA, BOB = "ada@example.com", "bob@example.com"
TAKEN = Outcome(reply=Reply(250, "2.0.0 Taken"))
LATER = Outcome("SMTPDataError: later", Fault.MESSAGE_TRANSIENT, Reply(451, "4.3.0 Later"))
NO_USER = Outcome("SMTPRecipientsRefused: ada", Fault.MESSAGE_PERMANENT, Reply(550, "5.1.1 No such user"))


def record(email: Email, outcome: Outcome) -> None:
    """Write down one attempt."""
    record_outcomes([Attempt(email, outcome, NOW)])
    email.refresh_from_db()


def claimed(count: int, *to: str) -> list[Email]:
    """Mails in an engine's hands."""
    queue(*[order(*to) for _ in range(count)])
    return claim_emails(ENGINE, limit=count, now=NOW)


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
    assert (email.claimed_by, email.lease_until) == ("", None)


def test_a_success_clears_the_error_of_an_earlier_try(claim: Claim) -> None:
    email = claim()
    Email.objects.update(last_error="it failed")

    record(email, TAKEN)

    assert email.last_error == ""


def test_a_try_that_may_pass_is_followed_by_another(claim: Claim) -> None:
    email = claim()

    record(email, LATER)

    assert (email.status, email.next_attempt_at, email.sent_at) == (Status.DELAYED, NOW + timedelta(minutes=1), None)
    assert claim_emails(ENGINE, limit=1, now=NOW + timedelta(seconds=59)) == []
    assert claim_emails(ENGINE, limit=1, now=NOW + timedelta(seconds=60)) == [email]


def test_the_delays_are_those_of_the_settings(claim: Claim, settings: Settings) -> None:
    settings.RETRY_DELAYS = (timedelta(seconds=30),)
    email = claim()

    record(email, LATER)
    first, due = email.status, email.next_attempt_at
    (email,) = claim_emails(ENGINE, limit=1, now=NOW + timedelta(seconds=30))
    record(email, LATER)

    assert (first, due) == (Status.DELAYED, NOW + timedelta(seconds=30))
    assert (email.status, email.next_attempt_at, email.attempts) == (Status.FAILED, None, 2)


def test_a_relay_that_asks_to_wait_is_left_alone_for_so_long(claim: Claim) -> None:
    email = claim()

    record(email, Outcome("later", Fault.MESSAGE_TRANSIENT, Reply(451, "try again in 10 minutes")))

    assert email.next_attempt_at == NOW + timedelta(minutes=10)


@pytest.mark.pitfall(29)
def test_a_relay_that_does_not_work_costs_the_mail_no_chance(claim: Claim) -> None:
    email = claim()

    record(email, Outcome("SMTPConnectError: no route", Fault.RELAY))

    assert (email.status, email.attempts, email.last_error) == (Status.QUEUED, 0, "SMTPConnectError: no route")
    assert (email.sent_at, email.claimed_by, email.lease_until) == (None, "", None)


@pytest.mark.usefixtures("lent")
def test_a_mail_that_was_taken_for_some_goes_only_to_the_others_the_next_time() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, Outcome(reply=Reply(250, "Taken"), refusals={BOB: Reply(452, "4.2.2 Full")}))
    (again,) = claim_emails(ENGINE, limit=1, now=NOW + timedelta(minutes=1))

    assert (email.status, email.last_error) == (Status.DELAYED, f"{BOB}: 452 4.2.2 Full")
    assert (again.pending, again.attempts) == ([BOB], 2)


# Many at once


@pytest.mark.usefixtures("lent")
def test_writes_down_many_of_all_kinds_at_once() -> None:
    emails = claimed(5)
    outcomes = [TAKEN, NO_USER, LATER, TAKEN, Outcome("no route", Fault.RELAY)]

    record_outcomes([Attempt(email, outcome, NOW) for email, outcome in zip(emails, outcomes, strict=True)])

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
    late, *others = await database.run(claimed, 3)
    await database.run(Email.objects.filter(id=late.id).update, claimed_by="quick")

    commits: SharedCommits[Attempt, Verdict] = SharedCommits(record_outcomes)

    done = await asyncio.gather(*(commits.run(Attempt(email, TAKEN, NOW)) for email in (late, *others)), return_exceptions=True)

    assert [type(answer) for answer in done] == [NotInHand, Verdict, Verdict]
    assert await database.run(lambda: [email.status for email in Email.objects.order_by("id")]) == ["sending", "sent", "sent"]
    assert await database.run(Event.objects.filter(type="email.sent").count) == 2


@pytest.mark.parametrize("outcome", [TAKEN, NO_USER, LATER])
def test_writes_nothing_down_for_a_mail_that_another_engine_took_over(claim: Claim, outcome: Outcome) -> None:
    late = claim(engine="late")
    requeue_abandoned(["late"], now=NOW)
    claim_emails("quick", limit=1, now=NOW)
    before = Event.objects.count()

    with pytest.raises(NotInHand), transaction.atomic():
        record(late, outcome)

    late.refresh_from_db()
    assert (late.status, late.claimed_by, Event.objects.count()) == (Status.SENDING, "quick", before)
    assert not Suppression.objects.exists()


@pytest.mark.usefixtures("lent")
def test_its_statements_do_not_grow_with_the_mails_that_are_plainly_sent() -> None:
    counts = []
    for number in (1, 50):
        emails = claimed(number)
        with CaptureQueriesContext(connection) as queries:
            record_outcomes([Attempt(email, TAKEN, NOW) for email in emails])
        counts.append(len(queries))

    assert counts == [2, 2]


def test_an_attempt_whose_transaction_failed_is_judged_the_same_again(claim: Claim) -> None:
    attempt = Attempt(claim(), Outcome("no route", Fault.RELAY), NOW)
    with transaction.atomic():
        record_outcomes([attempt])
        transaction.set_rollback(True)

    record_outcomes([attempt])

    assert (Email.objects.get().status, Email.objects.get().attempts) == (Status.QUEUED, 0)


# What is said of it


def test_an_event_tells_what_the_relay_said(claim: Claim) -> None:
    email = claim()

    record(email, Outcome(reply=Reply(250, "2.0.0 Taken"), dialogue="C: MAIL FROM:<a@b.example>\nS: 250 OK"))

    event = last_event(email)
    assert (event.type, event.created_at, event.data["attempt"]) == ("email.sent", NOW, 1)
    assert (event.data["smtp_code"], event.data["response"], "refused" in event.data) == (250, "2.0.0 Taken", False)
    assert event.dialogue == "C: MAIL FROM:<a@b.example>\nS: 250 OK"


@pytest.mark.usefixtures("lent")
def test_an_event_names_who_was_refused() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, Outcome(reply=Reply(250, "Taken"), refusals={BOB: Reply(550, "5.7.1 Blocked")}))

    assert last_event(email).data["refused"] == {BOB: {"smtp_code": 550, "response": "5.7.1 Blocked"}}


@pytest.mark.usefixtures("lent")
def test_a_mail_that_is_taken_for_some_tells_what_keeps_it_from_the_others(settings: Settings) -> None:
    settings.RETRY_DELAYS = (timedelta(minutes=1),)
    (email,) = claimed(1, ADA, BOB)

    record(email, Outcome(reply=Reply(250, "2.0.0 Taken"), refusals={BOB: Reply(451, "4.3.0 Later")}))
    delayed = last_event(email)
    (email,) = claim_emails(ENGINE, limit=1, now=NOW + timedelta(minutes=1))
    record(email, LATER)
    sent = last_event(email)

    assert (delayed.type, delayed.data["smtp_code"], delayed.data["response"]) == ("email.delayed", 451, "4.3.0 Later")
    assert (sent.type, sent.data["smtp_code"], sent.data["response"]) == ("email.sent", 250, "2.0.0 Taken")
    assert sent.data["refused"] == {BOB: {"smtp_code": 451, "response": "4.3.0 Later"}}


# The suppression list


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.3", "5.5.0"])
def test_an_address_that_is_bad_is_suppressed(claim: Claim, code: str) -> None:
    email = claim()

    record(email, Outcome("refused", Fault.MESSAGE_PERMANENT, Reply(550, f"{code} No such user")))

    suppression = Suppression.objects.get()
    assert (email.status, suppression.address, suppression.email) == (Status.BOUNCED, ADA, email)
    assert (suppression.reason, suppression.created_at) == (f"550 {code} No such user", NOW)


@pytest.mark.parametrize(
    "text", ["5.7.1 Blocked", "5.2.2 Full", "5.1.10 Null MX", "5.1.0 Bad", "No such user", "4.1.1 No such user"]
)
def test_an_address_that_was_refused_for_anything_else_is_not_suppressed(claim: Claim, text: str) -> None:
    email = claim()

    record(email, Outcome("refused", Fault.MESSAGE_PERMANENT, Reply(550, text)))

    assert (email.status, Suppression.objects.exists()) == (Status.FAILED, False)


@pytest.mark.usefixtures("lent")
def test_only_the_recipient_that_is_bad_is_suppressed() -> None:
    (email,) = claimed(1, ADA, BOB)

    record(email, Outcome(reply=Reply(250, "Taken"), refusals={BOB: Reply(550, "5.1.1 No such user")}))

    assert (email.status, [each.address for each in Suppression.objects.all()]) == (Status.SENT, [BOB])


@pytest.mark.usefixtures("lent")
def test_no_bounce_suppresses_an_address_of_the_simulator() -> None:
    (email,) = claimed(1, "Bounce@Simulator.test")

    record(email, Outcome("refused", Fault.MESSAGE_PERMANENT, Reply(550, "5.1.1 No such mailbox")))

    assert (email.status, Suppression.objects.exists()) == (Status.BOUNCED, False)
