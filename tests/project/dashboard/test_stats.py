"""The statistics on the dashboard."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.dashboard.stats import (
    RESOLUTIONS,
    Failure,
    Latency,
    Resolution,
    bucket_counts,
    first_event_id_since,
    generalize_reply,
    percentile,
    read_latency,
    read_queue_depths,
    top_failures,
)
from project.emails.models import Email
from tests.project.dashboard.conftest import NOW, RecordEvent

MINUTE, HOUR = RESOLUTIONS["minute"], RESOLUTIONS["hour"]


def nonempty_buckets(resolution: Resolution, now: datetime = NOW) -> dict[str, dict[str, int]]:
    """Return the counts of each bucket that has events, by the start time of the bucket as HH:MM."""
    buckets = bucket_counts(resolution, now=now)
    return {f"{start:%H:%M}": counts for start, counts in buckets.items() if any(counts.values())}


def test_the_last_bucket_contains_now() -> None:
    starts = HOUR.bucket_starts(NOW)

    assert len(starts) == 24
    assert (starts[0], starts[-1]) == (datetime(2026, 11, 30, 10, tzinfo=UTC), datetime(2026, 12, 1, 9, tzinfo=UTC))


def test_counts_events_by_minute(record_event: RecordEvent) -> None:
    for status, seconds in (
        ("sent", 3601),
        ("sent", 70),
        ("bounced", 65),
        ("failed", 64),
        ("queued", 63),
        ("delayed", 5),
        ("sent", 0),
    ):
        record_event(status, timedelta(seconds=seconds))

    assert nonempty_buckets(MINUTE) == {
        "09:29": {"sent": 1, "delayed": 0, "failed": 2},
        "09:30": {"sent": 1, "delayed": 1, "failed": 0},
    }


def test_adds_later_events_to_cached_counts(record_event: RecordEvent) -> None:
    record_event("sent")
    first = nonempty_buckets(MINUTE)
    record_event("sent", -timedelta(seconds=10))
    record_event("sent", -timedelta(seconds=50))

    later = nonempty_buckets(MINUTE, NOW + timedelta(seconds=55))

    assert [first["09:30"]["sent"], later["09:30"]["sent"]] == [1, 2]
    assert nonempty_buckets(MINUTE, NOW + timedelta(minutes=5))["09:31"]["sent"] == 1


def test_does_not_count_closed_buckets_again(record_event: RecordEvent) -> None:
    for hours in reversed(range(20)):
        record_event("sent", timedelta(hours=hours))
    first = nonempty_buckets(HOUR)

    with CaptureQueriesContext(connection) as queries:
        assert nonempty_buckets(HOUR) == first

    assert len(first) == 20
    assert len(queries) <= 2


def test_a_new_installation_has_empty_stats(db: None) -> None:
    assert nonempty_buckets(MINUTE) == {}
    assert read_latency(now=NOW) == Latency(0, None, None)
    assert top_failures() == []


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


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.1.1 <ada@example.com>: No such user", "550 5.1.1 …: No such user"),
        ("452 4.2.2 Queue 4D2C11AB9 full", "452 4.2.2 Queue … full"),
        ("SMTPRecipientsRefused: {'ada@example.com': (550, b'5.1.1 No such mailbox')}", "550 5.1.1 No such mailbox"),
        ("", "No reply"),
    ],
)
def test_replaces_addresses_and_numbers_in_a_reply(reply: str, expected: str) -> None:
    assert generalize_reply(reply) == expected


def test_counts_equal_replies_together(record_event: RecordEvent) -> None:
    for address in ("ada@example.com", "grace@example.com"):
        record_event("bounced", last_error=f"550 <{address}> No such user")
    record_event("delayed", last_error="451 Not now")

    assert top_failures() == [
        Failure("550 … No such user", 2, "bounced"),
        Failure("451 Not now", 1, "delayed"),
    ]


def test_the_waiting_time_of_a_retried_email_starts_at_the_retry(record_event: RecordEvent) -> None:
    old = record_event("queued", timedelta(minutes=1), created_at=NOW - timedelta(days=9)).email
    Email.objects.exclude(pk=old.pk).delete()

    assert read_queue_depths().oldest_queued_at == NOW - timedelta(minutes=1)
    assert read_queue_depths().depths == {"queued": 1, "sending": 0, "delayed": 0, "scheduled": 0}
