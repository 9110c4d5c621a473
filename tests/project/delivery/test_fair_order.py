"""The order in which due emails are claimed."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.delivery import fair_order
from project.delivery.claim import claim_emails
from project.delivery.fair_order import ClaimOptions
from project.delivery.lanes import LANES, Lane, lanes_with_due_emails
from project.delivery.owner_rotation import OwnerRotation, next_owners, oldest_ids_of
from project.emails.models import Email
from project.emails.priority import Priority
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


PLANS = [(lane, "email_due_priority_owner" if lane.waits_until_due else "email_queued_turn") for lane in LANES]


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.parametrize(("lane", "index"), PLANS)
def test_the_search_for_owners_uses_the_index_of_the_lane(lane: Lane, index: str) -> None:
    queue_for("key:1", 3, status=Status.SENT)
    with CaptureQueriesContext(connection) as queries:
        next_owners(lane, 5, OwnerRotation())
        oldest_ids_of(lane, ["key:1", "key:2"], 3, NOW)

    owners_plan, emails_plan = (explain(query["sql"]) for query in queries)
    assert owners_plan.count(index) == 2
    assert emails_plan.count("owner=?") == 2
    assert "SCAN emails_email" not in owners_plan + emails_plan


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.parametrize("lane", LANES)
def test_the_search_for_due_emails_uses_the_index_of_the_lane(lane: Lane) -> None:
    index = "email_due_priority" if lane.waits_until_due else "email_queued_turn"
    with CaptureQueriesContext(connection) as queries:
        lanes_with_due_emails(now=NOW, priorities=[lane.priority])
        fair_order._select(lane, 5, ClaimOptions(), NOW)

    exists_plan, emails_plan = (explain(query["sql"]) for query in queries)
    assert exists_plan.count("SCAN emails_email USING") == 0
    assert index in exists_plan
    assert f"SEARCH email USING INDEX {index} " in emails_plan
    assert "TEMP B-TREE" not in emails_plan


def queue_each(count: int, *priorities: Priority, **fields: object) -> None:
    """Queue as many emails of each of these priorities."""
    for priority in priorities:
        queue_for("key:1", count, priority=priority, **fields)


def priorities(limit: int, options: ClaimOptions | None = None) -> Counter[str]:
    """Claim emails, and return how many of each priority."""
    return Counter(email.priority for email in claim_emails(WORKER, limit=limit, now=NOW, options=options))


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SCHEDULED, Status.DELAYED])
def test_an_email_of_high_priority_is_claimed_before_older_ones(status: Status) -> None:
    queue_each(30, Priority.LOW, Priority.NORMAL)
    queue_for("key:1", 1, priority=Priority.HIGH, status=status, next_attempt_at=None if status == Status.QUEUED else NOW)

    assert priorities(1) == {"high": 1}


def test_lower_priorities_get_a_share_while_higher_ones_wait() -> None:
    queue_each(30, *Priority)

    assert priorities(20) == {"high": 14, "normal": 4, "low": 2}


def test_small_claims_of_one_worker_together_take_the_shares() -> None:
    queue_each(30, *Priority)
    options = ClaimOptions()

    claims = [priorities(1, options) for _ in range(20)]

    assert sum(claims, Counter()) == {"high": 14, "normal": 4, "low": 2}


def test_one_priority_gets_what_the_others_leave() -> None:
    queue_each(30, Priority.LOW)

    assert priorities(20) == {"low": 20}


def test_claims_only_the_requested_priorities() -> None:
    queue_each(3, *Priority)

    assert priorities(20, ClaimOptions(priorities={Priority.HIGH, Priority.LOW})) == {"high": 3, "low": 3}


def test_retries_of_all_priorities_share_their_limit() -> None:
    queue_each(9, *Priority, status=Status.DELAYED, next_attempt_at=PAST)

    assert priorities(20, ClaimOptions(retries=10)).total() == 10


def test_finds_emails_to_other_domains_of_each_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_order, "NEWEST_WINDOW", 1)
    queue_for("key:1", 2, "ada@example.com", priority=Priority.HIGH)
    queue_for("key:1", 5, "ada@slow.example", priority=Priority.LOW)

    assert priorities(20, ClaimOptions(avoided_domains=frozenset({"slow.example"}))) == {"high": 2}
