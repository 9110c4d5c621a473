"""Claiming: no mail is in two hands at once, and none is forgotten in a dead one's."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.delivery.claim import LEASE, OUTAGE_RETENTION, claim_emails, release_claims, renew_leases, requeue_abandoned
from project.delivery.decision import recipient_result
from project.delivery.models import RelayOutage
from project.delivery.record_results import Attempt, record_results
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.suppressions.store import suppress
from project.transports.result import SendResult
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER, Accept, Claim
from tests.project.transports.fake_relay import order, queue

ADA, BOB = "ada@example.com", "bob@example.com"


def claimed(limit: int = 100) -> list[Email]:
    """What an engine gets."""
    return claim_emails(WORKER, limit=limit, now=NOW)


def texts(emails: list[Email]) -> list[str]:
    """Which mails these are."""
    return [email.text for email in emails]


def events() -> list[str]:
    """What has happened, in order."""
    return list(Event.objects.order_by("id").values_list("type", flat=True))


# Claiming


def test_claims_the_oldest_first(accept: Accept) -> None:
    first, second, _third = accept("1"), accept("2"), accept("3")

    assert [email.id for email in claimed(limit=2)] == [first.id, second.id]


def test_a_claimed_mail_is_leased_and_counts_one_more_attempt(claim: Claim) -> None:
    email = claim()

    assert (email.status, email.claimed_by, email.lease_expires_at) == (Status.SENDING, WORKER, NOW + LEASE)
    assert email.attempts == 1
    assert events() == ["email.queued", "email.sending"]


@pytest.mark.pitfall(27)
def test_no_two_engines_claim_the_same_mail(accept: Accept) -> None:
    for text in "12345":
        accept(text)

    one, other = (claim_emails(worker, limit=3, now=NOW) for worker in ("one", "other"))

    assert [len(one), len(other)] == [3, 2]
    assert {email.id for email in one}.isdisjoint(email.id for email in other)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.QUEUED, Status.SCHEDULED, Status.DELAYED}))
def test_claims_only_what_is_queued(accept: Accept, status: Status) -> None:
    accept()
    Email.objects.update(status=status, next_attempt_at=NOW)

    assert claimed() == []


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.DELAYED])
def test_claims_what_waits_for_its_time_when_that_has_come(accept: Accept, status: Status) -> None:
    accept()
    Email.objects.update(status=status, next_attempt_at=NOW)

    early = claim_emails(WORKER, limit=1, now=NOW - timedelta(seconds=1))
    (email,) = claimed()

    assert (early, email.next_attempt_at) == ([], None)


def test_takes_no_more_in_hand_than_memory_holds(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [len(accept(text).raw_message.content) for text in ("1", "2", "3")]
    monkeypatch.setattr("project.delivery.claim.MAX_CLAIMED_BYTES", sizes[0] + sizes[1])

    assert [texts(claimed()), texts(claimed())] == [["1", "2"], ["3"]]


def test_a_mail_that_is_larger_than_all_that_is_claimed_goes_alone(accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.claim.MAX_CLAIMED_BYTES", 1)
    accept("1")
    accept("2")

    assert [texts(claimed()), texts(claimed()), texts(claimed())] == [["1"], ["2"], []]


def test_its_statements_do_not_grow_with_the_mails(accept: Accept) -> None:
    counts = []
    for number in (1, 30):
        queue(*[order() for _ in range(number)])
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert len(claimed()) == number
        counts.append(len(queries))

    assert counts[0] == counts[1]


# The suppressed


@pytest.mark.usefixtures("lent")
def test_leaves_out_recipients_that_are_suppressed_and_says_so() -> None:
    queue(order(ADA, "Bob@example.com"))
    suppress(BOB, now=NOW)

    (email,) = claimed()

    assert (email.status, email.pending_recipients) == (Status.SENDING, [ADA])
    assert Email.objects.get().recipient_results == {"Bob@example.com": recipient_result(Status.SUPPRESSED)}
    assert events() == ["email.queued", "email.suppressed", "email.sending"]
    assert Event.objects.get(type="email.suppressed").data["suppressed"] == ["Bob@example.com"]


@pytest.mark.usefixtures("lent")
def test_a_mail_whose_recipients_are_all_suppressed_is_never_sent() -> None:
    queue(order(ADA, BOB))
    for address in (ADA, BOB):
        suppress(address, now=NOW)

    assert claimed() == []

    email = Email.objects.get()
    assert (email.status, email.attempts, email.claimed_by, email.lease_expires_at) == (Status.SUPPRESSED, 0, "", None)
    assert events() == ["email.queued", "email.suppressed"]
    assert Event.objects.get(type="email.suppressed").data["suppressed"] == [ADA, BOB]


@pytest.mark.usefixtures("lent")
def test_mails_that_are_all_suppressed_hold_up_no_other() -> None:
    queue(*[order(BOB)] * 100, order(ADA, text="the other"))
    suppress(BOB, now=NOW)

    assert texts(claimed(limit=100)) == ["the other"]
    assert Email.objects.filter(status=Status.SUPPRESSED).count() == 100


@pytest.mark.usefixtures("lent")
def test_a_mail_that_was_taken_for_some_is_sent_when_the_others_are_suppressed() -> None:
    queue(order(ADA, BOB))
    Email.objects.update(
        recipient_results={ADA: recipient_result(Status.SENT, Reply(250, "Taken"))},
        status=Status.DELAYED,
        next_attempt_at=NOW,
        attempts=1,
    )
    suppress(BOB, now=NOW)

    assert claimed() == []

    email = Email.objects.get()
    assert (email.status, email.attempts, email.sent_at) == (Status.SENT, 1, NOW)
    assert events() == ["email.queued", "email.suppressed", "email.sent"]
    assert Event.objects.get(type="email.sent").data["smtp_code"] == 250


@pytest.mark.usefixtures("lent")
def test_says_only_once_whom_it_leaves_out() -> None:
    queue(order(ADA, BOB))
    suppress(BOB, now=NOW)
    release_claims(claimed(), now=NOW)

    (email,) = claimed()

    assert email.pending_recipients == [ADA]
    assert events().count("email.suppressed") == 1


# Giving back


def test_what_is_given_back_was_no_attempt(claim: Claim) -> None:
    email = claim()

    release_claims([email], now=NOW)

    email.refresh_from_db()
    assert (email.status, email.attempts, email.claimed_by, email.lease_expires_at) == (Status.QUEUED, 0, "", None)
    assert events() == ["email.queued", "email.sending", "email.queued"]


def test_gives_nothing_back_that_is_in_other_hands(claim: Claim) -> None:
    late = claim(worker="late")
    requeue_abandoned(["late"], now=NOW)
    (quick,) = claim_emails("quick", limit=1, now=NOW)

    release_claims([late], now=NOW)

    quick.refresh_from_db()
    assert (quick.status, quick.claimed_by, quick.attempts) == (Status.SENDING, "quick", 2)


# Putting back


@pytest.mark.pitfall(26)
def test_puts_back_what_a_dead_engine_had_in_hand(claim: Claim) -> None:
    email = claim(worker="dead")

    count = requeue_abandoned(["dead", "long dead"], now=NOW)

    email.refresh_from_db()
    assert count == 1
    assert (email.status, email.claimed_by, email.lease_expires_at, email.attempts) == (Status.QUEUED, "", None, 1)
    assert events() == ["email.queued", "email.sending", "email.queued"]


@pytest.mark.pitfall(26)
def test_puts_back_what_is_held_beyond_its_lease(claim: Claim) -> None:
    email = claim(worker="of another machine")

    requeue_abandoned([], now=NOW + LEASE + timedelta(seconds=1))

    email.refresh_from_db()
    assert email.status == Status.QUEUED


def test_leaves_a_living_engine_its_mail(claim: Claim) -> None:
    email = claim(worker="alive")

    count = requeue_abandoned(["dead"], now=NOW + LEASE)

    email.refresh_from_db()
    assert (count, email.status, email.claimed_by) == (0, Status.SENDING, "alive")


@pytest.mark.pitfall(27)
def test_a_lease_says_nothing_of_an_engine_that_is_known_to_be_alive(claim: Claim) -> None:
    email, other = claim(worker="alive"), claim(worker="of another machine")

    count = requeue_abandoned([], live=["alive"], now=NOW + 2 * LEASE)

    assert count == 1
    assert Email.objects.get(id=email.id).status == Status.SENDING
    assert Email.objects.get(id=other.id).status == Status.QUEUED


@pytest.mark.parametrize("result", [SendResult(), SendResult("it failed")])
def test_puts_nothing_back_that_is_done(claim: Claim, result: SendResult) -> None:
    record_results([Attempt(claim(worker="dead"), result, NOW)])

    assert requeue_abandoned(["dead", ""], now=NOW + 2 * LEASE) == 0


@pytest.mark.usefixtures("lent")
def test_a_dead_engine_pauses_no_more() -> None:
    for worker in ("dead", "alive"):
        RelayOutage.objects.create(worker=worker, started_at=NOW, next_probe_at=NOW, failures=1, error="no route")

    requeue_abandoned(["dead"], now=NOW)

    assert [pause.worker for pause in RelayOutage.objects.all()] == ["alive"]


@pytest.mark.usefixtures("lent")
def test_an_engine_that_has_not_tried_again_long_after_its_pause_pauses_no_more() -> None:
    for worker, until in (("gone", NOW), ("alive", NOW + timedelta(seconds=1))):
        RelayOutage.objects.create(worker=worker, started_at=NOW, next_probe_at=until, failures=1, error="no route")

    requeue_abandoned([], now=NOW + OUTAGE_RETENTION + timedelta(seconds=1))

    assert [pause.worker for pause in RelayOutage.objects.all()] == ["alive"]


@pytest.mark.pitfall(26)
def test_a_living_engine_renews_the_leases_of_what_it_has_in_hand(claim: Claim) -> None:
    mine, other = claim(), claim(worker="of another machine")

    count = renew_leases(WORKER, [mine.id, other.id], now=NOW + LEASE)
    requeue_abandoned([], now=NOW + LEASE + timedelta(seconds=1))

    assert count == 1
    assert Email.objects.get(id=mine.id).status == Status.SENDING
    assert Email.objects.get(id=other.id).status == Status.QUEUED


def test_a_mail_that_an_engine_has_lost_sight_of_is_put_back(claim: Claim) -> None:
    held, lost = claim(), claim()

    renew_leases(WORKER, [held.id], now=NOW + LEASE)
    requeue_abandoned([], now=NOW + LEASE + timedelta(seconds=1))

    assert Email.objects.get(id=held.id).status == Status.SENDING
    assert Email.objects.get(id=lost.id).status == Status.QUEUED
