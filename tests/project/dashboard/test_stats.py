"""The statistics on the dashboard."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.dashboard.stats import Latency, percentile, read_latency, read_queue_depths
from project.delivery.queue_stats import read_queue_stats
from project.emails.models import Email
from project.emails.top_reasons import top_reasons
from project.events.selectors import first_event_id_since
from tests.project.dashboard.conftest import NOW, RecordEvent


def test_a_new_installation_has_empty_stats(db: None) -> None:
    assert read_latency(now=NOW) == Latency(0, None, None)
    assert top_reasons() == []


@pytest.mark.parametrize(("seconds", "expected"), [(0, 1), (10, 1), (11, 2), (20, 2), (30, 5), (31, 6)])
def test_finds_the_first_event_since_a_moment(record_event: RecordEvent, seconds: int, expected: int) -> None:
    first = min(record_event("sent", -timedelta(seconds=second)).pk for second in (10, 20, 25, 27, 30))

    found = first_event_id_since(NOW + timedelta(seconds=seconds), low=first, high=first + 5)

    assert found - first + 1 == expected


def test_latency_starts_at_the_scheduled_time(record_event: RecordEvent) -> None:
    record_event("sent", timedelta(hours=2), created_at=NOW - timedelta(days=1))  # this email was sent before the last hour
    for seconds in range(1, 21):
        record_event("sent", created_at=NOW - timedelta(seconds=seconds))
    record_event("sent", created_at=NOW - timedelta(days=3), scheduled_at=NOW - timedelta(seconds=0.5))

    assert read_latency(now=NOW) == Latency(21, 10.0, 19.0)


@pytest.mark.parametrize(("values", "percent", "expected"), [([], 50, None), ([1.0], 95, 1.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.0)])
def test_a_percentile_is_one_of_the_values(values: list[float], percent: int, expected: float | None) -> None:
    assert percentile(values, percent) == expected


def test_the_waiting_time_of_a_retried_email_starts_at_the_retry(record_event: RecordEvent) -> None:
    old = record_event("queued", timedelta(minutes=1), created_at=NOW - timedelta(days=9)).email
    Email.objects.exclude(pk=old.pk).delete()

    assert read_queue_depths().oldest_queued_at == NOW - timedelta(minutes=1)
    assert read_queue_depths().depths == {"queued": 1, "sending": 0, "delayed": 0, "scheduled": 0}


@pytest.mark.sqlite_only("reads plans of SQLite")
@pytest.mark.parametrize("read", [read_queue_depths, read_queue_stats])
def test_the_emails_of_a_status_are_counted_along_its_own_index(record_event: RecordEvent, read: Callable[[], object]) -> None:
    """Without an order, SQLite counts them among all emails, in the index of owners and statuses."""
    record_event("sent")

    with CaptureQueriesContext(connection) as queries:
        read()

    counting = next(query["sql"] for query in queries if "'scheduled'" in query["sql"])
    with connection.cursor() as cursor:
        plan = [row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {counting}").fetchall()]
    assert {f"SCAN U0 USING INDEX email_{status}" for status in ("queued", "sending", "delayed", "scheduled")} <= set(plan)
    assert not any("email_owner" in line for line in plan)
