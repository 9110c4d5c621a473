"""Claims: two workers never hold a claim on the same email."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.delivery.abandoned import Verdict, requeue_abandoned
from project.delivery.claim import claim_emails, has_due_emails, next_due_at, release_claims, renew_leases
from project.delivery.decision import recipient_result
from project.delivery.lease import LEASE
from project.emails.models import Email, RawMessage
from project.emails.status import Status
from project.events.models import Event
from project.suppressions.store import suppress
from project.transports.raw_message import text_of
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER, Claim, SubmitEmail
from tests.project.transports.fake_relay import new_email, queue

ADA, BOB = "ada@example.com", "bob@example.com"


def claimed(limit: int = 100) -> list[Email]:
    """Claim emails for a worker."""
    return claim_emails(WORKER, limit=limit, now=NOW)


def texts(emails: list[Email]) -> list[str]:
    """Return the texts of the emails. In these tests, each email has a different text."""
    return [text_of(bytes(email.raw_message.content)) for email in emails]


def events() -> list[str]:
    """Return the types of all events, in order."""
    return list(Event.objects.order_by("id").values_list("type", flat=True))


# Claiming


def test_claims_the_oldest_first(submit_email: SubmitEmail) -> None:
    first, second, _third = submit_email("1"), submit_email("2"), submit_email("3")

    assert [email.id for email in claimed(limit=2)] == [first.id, second.id]


def test_a_claim_sets_a_lease_and_counts_an_attempt(claim: Claim) -> None:
    email = claim()

    assert (email.status, email.claimed_by, email.lease_expires_at) == (Status.SENDING, WORKER, NOW + LEASE)
    assert email.attempts == 1
    assert events() == ["email.queued", "email.sending"]


@pytest.mark.pitfall(27)
def test_two_workers_never_claim_the_same_email(submit_email: SubmitEmail) -> None:
    for text in "12345":
        submit_email(text)

    first, second = (claim_emails(worker, limit=3, now=NOW) for worker in ("first", "second"))

    assert [len(first), len(second)] == [3, 2]
    assert {email.id for email in first}.isdisjoint(email.id for email in second)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.QUEUED, Status.SCHEDULED, Status.DELAYED}))
def test_does_not_claim_emails_in_other_states(submit_email: SubmitEmail, status: Status) -> None:
    submit_email()
    Email.objects.update(status=status, next_attempt_at=NOW)

    assert claimed() == []


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.DELAYED])
def test_claims_a_scheduled_or_delayed_email_when_it_is_due(submit_email: SubmitEmail, status: Status) -> None:
    submit_email()
    Email.objects.update(status=status, next_attempt_at=NOW)

    early = claim_emails(WORKER, limit=1, now=NOW - timedelta(seconds=1))
    (email,) = claimed()

    assert (early, email.next_attempt_at) == ([], None)


def test_limits_the_total_size_of_a_claim(submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [len(submit_email(text).raw_message.content) for text in ("1", "2", "3")]
    monkeypatch.setattr("project.delivery.claim.MAX_CLAIMED_BYTES", sizes[0] + sizes[1])

    assert [texts(claimed()), texts(claimed())] == [["1", "2"], ["3"]]


def test_claims_an_email_larger_than_the_limit_alone(submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.claim.MAX_CLAIMED_BYTES", 1)
    submit_email("1")
    submit_email("2")

    assert [texts(claimed()), texts(claimed()), texts(claimed())] == [["1"], ["2"], []]


def test_an_email_without_its_message_does_not_prevent_a_claim(submit_email: SubmitEmail) -> None:
    first, second = submit_email("1"), submit_email("2")
    RawMessage.objects.filter(email=first).delete()

    emails = claimed()

    assert [email.id for email in emails] == [first.id, second.id]
    with pytest.raises(RawMessage.DoesNotExist):
        _ = emails[0].raw_message


def test_the_number_of_statements_is_constant(submit_email: SubmitEmail) -> None:
    counts = []
    for number in (1, 30):
        queue(*[new_email() for _ in range(number)])
        with CaptureQueriesContext(connection) as queries:
            assert len(claimed()) == number
        counts.append(len(queries))

    assert counts[0] == counts[1]


# Suppressed recipients


@pytest.mark.usefixtures("shared_test_connection")
def test_skips_suppressed_recipients_and_records_an_event() -> None:
    queue(new_email(ADA, "Bob@example.com"))
    suppress(BOB, now=NOW)

    (email,) = claimed()

    assert (email.status, email.pending_recipients) == (Status.SENDING, [ADA])
    assert Email.objects.get().recipient_results == {"Bob@example.com": recipient_result(Status.SUPPRESSED, at=NOW)}
    assert events() == ["email.queued", "email.suppressed", "email.sending"]
    assert Event.objects.get(type="email.suppressed").data["suppressed"] == ["Bob@example.com"]


@pytest.mark.usefixtures("shared_test_connection")
def test_does_not_send_an_email_whose_recipients_are_all_suppressed() -> None:
    queue(new_email(ADA, BOB))
    for address in (ADA, BOB):
        suppress(address, now=NOW)

    assert claimed() == []

    email = Email.objects.get()
    assert (email.status, email.attempts, email.claimed_by, email.lease_expires_at) == (Status.SUPPRESSED, 0, "", None)
    assert events() == ["email.queued", "email.suppressed"]
    assert Event.objects.get(type="email.suppressed").data["suppressed"] == [ADA, BOB]


@pytest.mark.usefixtures("shared_test_connection")
def test_suppressed_emails_do_not_delay_others() -> None:
    queue(*[new_email(BOB)] * 100, new_email(ADA, text="the other"))
    suppress(BOB, now=NOW)

    rounds = [claimed(limit=10), claimed(limit=10)]

    assert (rounds[0], texts(rounds[1])) == ([], ["the other"])
    assert Email.objects.filter(status=Status.SUPPRESSED, attempts=0, claimed_by="", next_attempt_at=None).count() == 100
    assert events().count("email.suppressed") == 100


@pytest.mark.usefixtures("shared_test_connection")
def test_finishes_a_limited_number_of_suppressed_emails_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.claim.MAX_FINISHED_EMAILS", 20)
    queue(*[new_email(BOB)] * 100)
    suppress(BOB, now=NOW)

    assert claimed(limit=10) == []

    assert (Email.objects.filter(status=Status.SUPPRESSED).count(), has_due_emails(WORKER, now=NOW)) == (30, True)


@pytest.mark.usefixtures("shared_test_connection")
def test_the_number_of_queries_does_not_depend_on_the_number_of_suppressed_emails() -> None:
    suppress(BOB, now=NOW)
    queries = []
    for count in (20, 90):
        queue(*[new_email(BOB, ADA)] * count)
        with CaptureQueriesContext(connection) as captured:
            claimed(limit=count)
        queries.append(len(captured))

    assert queries[0] == queries[1]


@pytest.mark.usefixtures("shared_test_connection")
def test_finishes_only_emails_without_recipients_to_send_to() -> None:
    suppress(BOB, now=NOW)
    queue(*[new_email(BOB)] * 2, new_email(BOB, ADA, text="both"), new_email(BOB))

    assert claimed(limit=2) == []

    assert Email.objects.filter(status=Status.SUPPRESSED).count() == 3
    assert texts(claimed()) == ["both"]


@pytest.mark.usefixtures("shared_test_connection")
def test_a_partly_accepted_email_is_sent_when_the_other_recipients_are_suppressed() -> None:
    queue(new_email(ADA, BOB))
    Email.objects.update(
        recipient_results={ADA: recipient_result(Status.SENT, Reply(250, "Accepted"))},
        status=Status.DELAYED,
        next_attempt_at=NOW,
        attempts=1,
    )
    suppress(BOB, now=NOW)

    assert claimed() == []

    email = Email.objects.get()
    assert (email.status, email.attempts, email.sent_at) == (Status.SENT, 1, NOW)
    assert events() == ["email.queued", "email.suppressed"]
    assert Event.objects.get(type="email.suppressed").data["status"] == Status.SENT


@pytest.mark.usefixtures("shared_test_connection")
def test_records_a_suppressed_recipient_only_once() -> None:
    queue(new_email(ADA, BOB))
    suppress(BOB, now=NOW)
    release_claims(WORKER, [email.id for email in claimed()], now=NOW)

    (email,) = claimed()

    assert email.pending_recipients == [ADA]
    assert events().count("email.suppressed") == 1


# Releasing claims


def test_a_released_claim_uses_up_no_attempt(claim: Claim) -> None:
    email = claim()

    release_claims(WORKER, [email.id], now=NOW)

    email.refresh_from_db()
    assert (email.status, email.attempts, email.claimed_by, email.lease_expires_at) == (Status.QUEUED, 0, "", None)
    assert events() == ["email.queued", "email.sending", "email.queued"]


def test_does_not_release_the_claim_of_another_worker(claim: Claim) -> None:
    email = claim(worker="first")
    requeue_abandoned(Verdict(ended=["first"]), sending={"first": ()}, now=NOW)
    (again,) = claim_emails("second", limit=1, now=NOW)

    release_claims("first", [email.id], now=NOW)

    again.refresh_from_db()
    assert (again.status, again.claimed_by, again.attempts) == (Status.SENDING, "second", 1)


# Renewing leases


@pytest.mark.pitfall(26)
def test_renews_the_leases_of_emails_in_flight(claim: Claim) -> None:
    own, other = claim(), claim(worker="on another machine")

    held = renew_leases(WORKER, [own.id, other.id], now=NOW + LEASE)

    own.refresh_from_db()
    other.refresh_from_db()
    assert held == {own.id}
    assert (own.lease_expires_at, other.lease_expires_at) == (NOW + 2 * LEASE, NOW + LEASE)


def test_a_renewal_returns_all_emails_that_are_still_held(claim: Claim) -> None:
    emails = {claim().id, claim().id}

    assert renew_leases(WORKER, emails, now=NOW) == emails


# Emails that workers crashed on


def crash(*emails: Email, crashes: int = 1) -> None:
    """Store that workers crashed on these emails, which wait for the next attempt and are due."""
    ids = [email.id for email in emails]
    Email.objects.filter(id__in=ids).update(status=Status.DELAYED, next_attempt_at=NOW, crashes=crashes)


def test_claims_only_one_email_at_a_time_that_workers_crashed_on(submit_email: SubmitEmail) -> None:
    first, second, _other = submit_email("1"), submit_email("2"), submit_email("3")
    crash(first, second)

    assert texts(claimed()) == ["3", "1"]  # the one that may cause a crash is sent last
    assert claimed() == []
    assert texts(claim_emails("another worker", limit=10, now=NOW)) == ["2"]


def test_many_crashed_emails_do_not_delay_others(submit_email: SubmitEmail) -> None:
    crash(*(submit_email(str(number)) for number in range(5)))
    submit_email("new")

    assert texts(claimed(limit=2)) == ["new", "0"]
    assert next_due_at() is None  # no busy polling while crashed emails wait for each other


def test_a_released_email_is_still_claimed_alone(submit_email: SubmitEmail) -> None:
    first, second = submit_email("1"), submit_email("2")
    crash(first, second)
    release_claims(WORKER, [email.id for email in claimed()], now=NOW)

    assert len(claimed()) == 1


def test_claims_a_crashed_email_not_before_its_time(submit_email: SubmitEmail) -> None:
    crash(submit_email())

    assert claim_emails(WORKER, limit=10, now=NOW - timedelta(seconds=1)) == []
