"""The order in which due emails are claimed."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.delivery import fair_order
from project.delivery.claim import claim_emails
from project.delivery.fair_order import ClaimOptions, OwnerRotation
from project.emails.models import Email
from project.emails.status import Status
from tests.project.conftest import NOW, WORKER
from tests.project.transports.fake_relay import new_email, queue

pytestmark = pytest.mark.usefixtures("shared_test_connection")

SECOND = timedelta(seconds=1)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(days=1)


def queue_for(owner: str, count: int = 1, *to: str, **fields: object) -> None:
    """Queue emails of an owner, and set their fields."""
    queue(*[replace(new_email(*to), owner_id=owner)] * count)
    newest = Email.objects.order_by("-id").values_list("id", flat=True)[:count]
    if fields:
        Email.objects.filter(id__in=list(newest)).update(**fields)


def owners(limit: int, options: ClaimOptions | None = None) -> list[str]:
    """Claim emails, and return their owners."""
    return [email.owner for email in claim_emails(WORKER, limit=limit, now=NOW, options=options)]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SCHEDULED, Status.DELAYED])
def test_the_emails_of_one_caller_do_not_hold_up_those_of_others(status: Status) -> None:
    due = {} if status == Status.QUEUED else {"next_attempt_at": PAST}
    queue_for("key:1", 30, status=status, **due)
    queue_for("key:2", 1, status=status, **due)
    queue_for("", 2, status=status, **due)

    assert Counter(owners(6)) == {"key:1": 3, "": 2, "key:2": 1}


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.DELAYED])
def test_scheduled_and_delayed_emails_do_not_go_before_new_ones(status: Status) -> None:
    queue_for("key:1", 30, status=status, next_attempt_at=PAST)
    queue_for("key:1", 1)

    emails = claim_emails(WORKER, limit=4, now=NOW)

    assert Email.objects.filter(status=Status.QUEUED).count() == 0
    assert len(emails) == 4


def test_the_lanes_take_turns() -> None:
    for status in (Status.QUEUED, Status.SCHEDULED, Status.DELAYED):
        queue_for("key:1", 30, status=status, next_attempt_at=None if status == Status.QUEUED else PAST)

    claim_emails(WORKER, limit=9, now=NOW)

    left = Counter(Email.objects.exclude(status=Status.SENDING).values_list("status", flat=True))
    assert left == {"queued": 27, "scheduled": 27, "delayed": 27}


def test_one_lane_gets_what_the_others_leave() -> None:
    queue_for("key:1", 1)
    queue_for("key:1", 9, status=Status.DELAYED, next_attempt_at=PAST)

    assert len(claim_emails(WORKER, limit=8, now=NOW)) == 8


def test_takes_a_limited_number_of_retries() -> None:
    queue_for("key:1", 9, status=Status.DELAYED, next_attempt_at=PAST)
    queue_for("key:1", 1)

    counts = [len(claim_emails(WORKER, limit=8, now=NOW, options=ClaimOptions(retries=number))) for number in (2, 0)]

    assert counts == [3, 0]


def test_the_oldest_emails_of_each_caller_are_first() -> None:
    for number in range(6):
        queue_for("key:1" if number % 2 else "key:2", 1, text=str(number))

    emails = claim_emails(WORKER, limit=4, now=NOW)

    assert [email.text for email in emails] == ["0", "1", "2", "3"]


def test_emails_that_are_not_due_take_no_turn() -> None:
    queue_for("key:1", 5, status=Status.SCHEDULED, next_attempt_at=FUTURE)
    queue_for("key:2", 5, status=Status.SCHEDULED, next_attempt_at=PAST)
    queue_for("key:3", 5, status=Status.CANCELED, next_attempt_at=PAST)

    assert owners(4) == ["key:2"] * 4


def test_every_caller_gets_a_turn_if_there_are_more_callers_than_emails_in_a_claim() -> None:
    for number in range(7):
        queue_for(f"key:{number}", 3)
    options = ClaimOptions(rotation=OwnerRotation())

    claimed = [owner for _ in range(4) for owner in owners(3, options)]

    assert set(claimed) == {f"key:{number}" for number in range(7)}
    assert max(Counter(claimed).values()) <= 3


def test_claims_the_newest_email_for_a_probe() -> None:
    queue_for("key:1", 3)
    newest = Email.objects.latest("id")

    (probe,) = claim_emails(WORKER, limit=1, now=NOW, options=ClaimOptions(newest_first=True))

    assert probe.id == newest.id


@pytest.mark.parametrize(("oldest", "newest"), [(9, 0), (2, 1)])
def test_avoids_domains_whose_emails_already_wait_for_a_connection(
    monkeypatch: pytest.MonkeyPatch, oldest: int, newest: int
) -> None:
    monkeypatch.setattr(fair_order, "OLDEST_WINDOW", oldest)
    monkeypatch.setattr(fair_order, "NEWEST_WINDOW", newest)
    queue_for("key:1", 5, "ada@slow.example")
    queue_for("key:1", 1, "bob@notslow.example", "eve@slow.example.com")
    options = ClaimOptions(avoided_domains=frozenset({"slow.example"}))

    emails = claim_emails(WORKER, limit=4, now=NOW, options=options)

    assert [email.recipients[0] for email in emails] == ["bob@notslow.example"]


def explain(sql: str) -> str:
    """Return SQLite's plan for a query."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "; ".join(row[-1] for row in cursor.fetchall())


PLANS = [
    ("QUEUED", "email_queued_owner"),
    ("SCHEDULED", "email_due_owner"),
    ("DELAYED", "email_due_owner"),
]


@pytest.mark.parametrize(("name", "index"), PLANS)
def test_the_search_for_owners_uses_an_index_that_begins_with_the_owner(name: str, index: str) -> None:
    queue_for("key:1", 3, status=Status.SENT)
    lane = next(lane for lane in (fair_order.QUEUED, fair_order.SCHEDULED, fair_order.DELAYED) if lane.status == Status[name])
    with CaptureQueriesContext(connection) as queries:
        fair_order._next_owners(lane, 5, OwnerRotation())
        fair_order._oldest_ids_of(lane, ["key:1", "key:2"], 3, NOW)

    owners_plan, emails_plan = (explain(query["sql"]) for query in queries)
    assert owners_plan.count(index) == 2
    assert emails_plan.count("owner=?") == 2
    assert "SCAN emails_email" not in owners_plan + emails_plan
