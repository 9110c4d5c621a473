"""The maximum age of an email, and the repair of due times that a wrong clock has set."""

from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from project.auth.principal import Principal
from project.delivery import expiry
from project.delivery.claim import claim_emails
from project.delivery.decision import recipient_result
from project.delivery.expiry import expire_emails, repair_due_times
from project.delivery.record_results import Attempt, record_results
from project.emails.actions import retry_email
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from tests.project.conftest import NOW, WORKER
from tests.project.transports.fake_relay import new_email, queue

MAX_AGE = timedelta(days=2)
SECOND = timedelta(seconds=1)
ADA, BOB = "ada@example.com", "bob@example.com"
PRINCIPAL = Principal("key", "shop", frozenset(), "key:1")
UNREACHABLE = SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE)


@pytest.fixture(autouse=True)
def _max_age(settings: Settings, shared_test_connection: None) -> None:
    settings.MAX_EMAIL_AGE = MAX_AGE


def queued(**fields: object) -> Email:
    """Queue an email at NOW, set its fields, and return it."""
    queue(new_email(ADA, BOB))
    email = Email.objects.latest("id")
    Email.objects.filter(id=email.id).update(**fields)
    return Email.objects.get(id=email.id)


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({}, NOW),
        ({"status": Status.SCHEDULED, "scheduled_at": NOW + 9 * MAX_AGE, "next_attempt_at": NOW}, NOW + 9 * MAX_AGE),
        ({"scheduled_at": NOW - MAX_AGE}, NOW),
        ({"status": Status.DELAYED, "attempts": 2, "next_attempt_at": NOW + MAX_AGE}, NOW),
        ({"retried_at": NOW + MAX_AGE}, NOW + MAX_AGE),
    ],
)
def test_an_email_fails_when_it_is_past_its_maximum_age(fields: dict[str, object], due: datetime) -> None:
    email = queued(**fields)

    counts = [expire_emails(now=now) for now in (due + MAX_AGE - SECOND, due + MAX_AGE, due + MAX_AGE)]

    email.refresh_from_db()
    assert (counts, email.status, email.next_attempt_at) == ([0, 1, 0], Status.FAILED, None)
    assert email.last_error == email.reason == "The email was not sent within its maximum age (MAX_EMAIL_AGE)"
    assert [event.type for event in email.events.order_by("id")] == ["email.queued", "email.failed"]


def test_an_email_that_waited_too_long_for_the_relay_is_not_sent_when_the_relay_works_again() -> None:
    old, new = queued(), queued(created_at=NOW + MAX_AGE)

    (claimed,) = claim_emails(WORKER, limit=2, now=NOW + MAX_AGE)

    old.refresh_from_db()
    assert claimed.id == new.id
    assert (old.status, old.attempts, old.claimed_by, old.lease_expires_at) == (Status.FAILED, 0, "", None)
    assert Event.objects.filter(type="email.failed").count() == 1


def test_the_error_of_an_expired_email_names_the_last_error() -> None:
    queued()
    record_results([Attempt(claim_emails(WORKER, limit=1, now=NOW)[0], UNREACHABLE, NOW)])

    expire_emails(now=NOW + MAX_AGE)

    assert Email.objects.get().last_error.endswith("(MAX_EMAIL_AGE). Last error: SMTPConnectError: no route")


def test_a_partly_sent_email_that_expires_keeps_its_results() -> None:
    email = queued(recipient_results={BOB: recipient_result(Status.SENT)})

    expire_emails(now=NOW + MAX_AGE)

    email.refresh_from_db()
    assert email.status == Status.SENT
    assert {each["address"]: each["status"] for each in email.recipient_statuses} == {ADA: "failed", BOB: "sent"}


def test_a_retry_of_an_old_email_starts_a_new_age() -> None:
    email = queued(status=Status.FAILED, owner=PRINCIPAL.owner_id)
    later = NOW + 9 * MAX_AGE

    retry_email(email.id, principal=PRINCIPAL, now=later)

    assert expire_emails(now=later + MAX_AGE - SECOND) == 0


def test_does_not_expire_an_email_that_is_being_sent_or_has_a_final_status() -> None:
    for status in set(Status) - {Status.QUEUED, Status.SCHEDULED, Status.DELAYED}:
        queued(status=status)

    assert expire_emails(now=NOW + MAX_AGE) == 0


def test_expires_a_limited_number_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH_SIZE", 2)
    for _ in range(3):
        queued()

    assert [expire_emails(now=NOW + MAX_AGE) for _ in range(3)] == [2, 1, 0]


# The clock


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=2), timedelta(days=9000)])
def test_an_email_delayed_while_the_clock_was_ahead_is_due_after_the_clock_is_set_back(ahead: timedelta) -> None:
    email = queued(status=Status.DELAYED, attempts=1, next_attempt_at=NOW + ahead)

    count = repair_due_times(now=NOW)

    email.refresh_from_db()
    assert (count, email.next_attempt_at) == (1, NOW)


@pytest.mark.parametrize(
    ("attempts", "last_error", "wait"),
    [
        (1, "451 4.3.0 Later", timedelta(seconds=66)),
        (7, "451 4.3.0 Later", timedelta(hours=26.4)),
        (9, "451 4.3.0 Later", timedelta(hours=26.4)),
        (1, f"{ADA}: 451 4.7.1 Greylisted; {BOB}: 451 4.7.1 Greylisted, try again in 20 hours", timedelta(hours=20)),
    ],
)
def test_an_email_that_waits_as_long_as_its_retry_delay_or_its_relay_asks_keeps_its_time(
    attempts: int, last_error: str, wait: timedelta
) -> None:
    queued(status=Status.DELAYED, attempts=attempts, last_error=last_error, next_attempt_at=NOW + wait)
    queued(status=Status.SCHEDULED, scheduled_at=NOW + timedelta(days=29), next_attempt_at=NOW + timedelta(days=29))

    assert repair_due_times(now=NOW) == 0


def test_repairs_due_times_without_retry_delays(settings: Settings) -> None:
    settings.RETRY_DELAYS = ()
    queued(status=Status.DELAYED, attempts=1, next_attempt_at=NOW + timedelta(hours=1))

    assert repair_due_times(now=NOW) == 1
