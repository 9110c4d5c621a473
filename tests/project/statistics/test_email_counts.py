"""The numbers of emails are those of the rows, whatever happens to the emails and to the process that counts."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from project.auth.principal import Principal
from project.delivery.claim import claim_emails, release_claims
from project.delivery.expiry import expire_emails
from project.delivery.queue_sweep import STEPS
from project.delivery.record_results import Attempt, record_results
from project.emails.actions import cancel_email, retry_email
from project.emails.ids import first_id_at
from project.emails.models import Email
from project.emails.resend import resend_email
from project.emails.status import Status
from project.emails.submit import prepare_email, submit_batch
from project.errors import DomainError
from project.events.log import record_status_events
from project.events.selectors import last_event_id
from project.retention.erasure import erase
from project.retention.expired_data import delete_emails
from project.statistics.email_counts import count_events, subtract_emails, sweep_counts, uncounted_events
from project.statistics.models import EmailCount
from project.statistics.spans import SERIES, SERIES_BY_STATUS, SPANS, span_start, submitted_in
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.conftest import SubmitEmail
from tests.project.transports.fake_relay import new_email

STAFF = Principal("session", "admin", frozenset(), "user:1", can_view_all=True, can_change_all=True)
LATER, UNKNOWN, BLOCKED = Reply(451, "4.3.0 Later"), Reply(550, "5.1.1 No such user"), Reply(554, "5.7.1 Blocked")
RESULTS = (
    SendResult(reply=Reply(250, "2.0.0 OK")),
    SendResult("451 Later", FailureKind.TEMPORARY, LATER),
    SendResult("554 Blocked", FailureKind.PERMANENT, BLOCKED),
    SendResult("550 No such user", FailureKind.PERMANENT, UNKNOWN, {"ada@example.com": UNKNOWN, "bob@example.com": UNKNOWN}),
    SendResult(reply=Reply(250, "2.0.0 OK"), rejections={"ada@example.com": UNKNOWN}),
    SendResult(reply=Reply(250, "2.0.0 OK"), rejections={"bob@example.com": LATER}),
)
Create = Callable[..., Email]
Numbers = dict[tuple[str, datetime], dict[str, int]]


def rows() -> Numbers:
    """Count the emails' rows by minute, hour and day."""
    found: dict[tuple[str, datetime], Counter[str]] = {}
    for email_id, status in Email.objects.values_list("pk", "status"):
        for span in SPANS:
            bucket = (span, span_start(span, submitted_in(email_id)))
            found.setdefault(bucket, Counter())[SERIES_BY_STATUS[Status(status)]] += 1
    return {bucket: dict(counts) for bucket, counts in found.items()}


def counted() -> Numbers:
    """Count all events, and return the stored numbers that are not zero."""
    while count_events(now=timezone.now(), limit=7):
        pass
    return stored()


def stored() -> Numbers:
    """Return the stored numbers that are not zero."""
    numbers = {
        (span, start): {name: number for name, number in zip(SERIES, each, strict=True) if number}
        for span, start, *each in EmailCount.objects.values_list("span", "start", *SERIES)
    }
    return {bucket: each for bucket, each in numbers.items() if each}


@pytest.fixture
def create(db: None) -> Create:
    """Return a function that creates an email, submitted `ago` before now, and its event."""
    numbers = count(1)

    def create(status: str = "queued", ago: timedelta = timedelta(), **columns: Any) -> Email:
        at = timezone.now() - ago
        fields = {"recipients": ["ada@example.com"], "created_at": at} | columns
        email = Email.objects.create(id=UUID(int=first_id_at(at).int + next(numbers)), status=status, **fields)
        record_status_events([email], now=at)
        return email

    return create


def act(choice: random.Random, emails: list[Email]) -> None:
    """Do something that can happen to emails."""
    now, email = timezone.now(), choice.choice(emails)
    with suppress(DomainError):
        match choice.randrange(8):
            case 0 | 1 | 2:
                for claimed in claim_emails("worker", limit=3, now=now):
                    record_results([Attempt(claimed, choice.choice(RESULTS), now)])
            case 3:
                release_claims("worker", [each.pk for each in claim_emails("worker", limit=2, now=now)], now=now)
            case 4:
                cancel_email(email.pk, principal=STAFF, now=now)
            case 5:
                retry_email(email.pk, principal=STAFF, now=now)
            case 6:
                resend_email(email.pk, principal=STAFF, now=now)
            case _:
                expire_emails(now=now + timedelta(days=choice.randrange(2) * 90))


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_the_rows_after_any_history(db: None, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311  # not for security
    prepared = [prepare_email(new_email("ada@example.com", "bob@example.com"), now=timezone.now()) for _ in range(12)]
    submit_batch(prepared)
    emails = [Email.objects.get(pk=each.email.id) for each in prepared]
    for _ in range(40):
        act(choice, emails)
        if choice.random() < 0.4:
            count_events(now=timezone.now(), limit=choice.randrange(1, 9))

    assert counted() == rows()
    assert uncounted_events(last_event_id()) == 0


def test_an_event_is_counted_once_even_if_the_transaction_fails(create: Create) -> None:
    create("sent")
    with suppress(ZeroDivisionError), transaction.atomic():
        count_events(now=timezone.now())
        raise ZeroDivisionError

    numbers = [(count_events(now=timezone.now()), stored() == rows()) for _ in range(2)]

    assert numbers == [(1, True), (0, True)]


def test_counts_the_emails_of_an_upgraded_installation_in_bounded_steps(create: Create) -> None:
    """The numbers of an installation begin with the events of the last days, whose emails are still shown."""
    create("sent", timedelta(days=40))
    for days in (31, 3, 0):
        create("failed", timedelta(days=days))

    steps = [count_events(now=timezone.now(), limit=2) for _ in range(3)]

    assert steps == [2, 1, 0]
    assert [(span, sum(each.values())) for (span, _start), each in stored().items()] == [
        *([("day", 1)] * 3),
        ("hour", 1),
        ("minute", 1),
    ]


def test_an_email_that_is_older_than_all_numbers_is_not_counted(create: Create) -> None:
    count_events(now=timezone.now())
    email = create("failed", timedelta(days=400))
    record_status_events([email], now=timezone.now())

    assert count_events(now=timezone.now()) == 2
    assert stored() == {}


@pytest.mark.parametrize("is_counted", [True, False])
def test_retention_takes_deleted_emails_out_of_the_numbers(create: Create, is_counted: bool) -> None:
    emails = [create(status, timedelta(minutes=90)) for status in ("sent", "failed", "queued")]
    if is_counted:
        counted()
    emails[1].status = "sent"
    record_status_events(emails[1:2], now=timezone.now())  # not counted yet when the email is deleted
    Email.objects.filter(pk=emails[1].pk).update(status="sent")

    delete_emails(timezone.now() - timedelta(hours=1), None)

    assert counted() == rows()
    assert Email.objects.count() == 1


def test_erasure_takes_deleted_emails_out_of_the_numbers(submit_email: SubmitEmail) -> None:
    submit_email("to Bob", "bob@example.com")
    submit_email("to Ada", "ada@example.com")
    counted()

    erase("ada@example.com")

    assert stored() == rows()
    assert Email.objects.count() == 1


def test_deleting_emails_before_the_first_count_changes_nothing(create: Create) -> None:
    subtract_emails([create("sent").pk], now=timezone.now())

    assert stored() == {}
    assert counted() == rows()


def test_the_sweep_counts_full_batches_and_then_removes_old_numbers(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.statistics.email_counts.MAX_EVENTS", 2)
    old = timezone.now() - timedelta(days=33)
    EmailCount.objects.bulk_create(EmailCount(span=span, start=old, sent=1) for span in SPANS)
    for _ in range(3):
        create("sent")

    steps = [sweep_counts(now=timezone.now()) for _ in range(2)]

    assert steps == [2, 0]
    assert stored() == rows()


def test_the_queue_is_swept_with_the_counts() -> None:
    assert sweep_counts in STEPS


def test_counting_reads_and_writes_with_few_statements(create: Create) -> None:
    """The number of statements does not depend on the number of events, so a batch costs little for each event."""
    for minutes in range(50):
        create("failed", timedelta(minutes=minutes))

    count_events(now=timezone.now(), limit=1)
    with CaptureQueriesContext(connection) as queries:
        assert count_events(now=timezone.now()) == 49

    assert len(queries) <= 8
