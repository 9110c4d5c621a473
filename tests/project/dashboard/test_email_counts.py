"""The numbers of the chart: each email once, by its current status and the time of its submission."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.dashboard.email_counts import RESOLUTIONS, Rates, Resolution, count_emails, final_rates
from project.emails.ids import first_id_at
from project.emails.models import Email
from project.emails.status import Status
from tests.project.dashboard.conftest import NOW

MINUTE, HOUR, DAY = RESOLUTIONS["minute"], RESOLUTIONS["hour"], RESOLUTIONS["day"]
Submit = Callable[..., Email]


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Clear cached counts before and after each test."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def submit(db: None) -> Submit:
    """Return a function that creates an email submitted `ago` before NOW."""
    numbers = count(1)

    def submit(status: str, ago: timedelta = timedelta()) -> Email:
        email_id = UUID(int=first_id_at(NOW - ago).int + next(numbers))
        return Email.objects.create(id=email_id, status=status, recipients=["a@b.example"])

    return submit


def nonzero(resolution: Resolution, now: datetime = NOW) -> dict[str, dict[str, int]]:
    """Return the counts that are not zero, by the start time of the bucket as HH:MM."""
    buckets = count_emails(resolution, now=now).items()
    found = {f"{start:%H:%M}": {name: number for name, number in counts.items() if number} for start, counts in buckets}
    return {start: counts for start, counts in found.items() if counts}


def test_the_last_bucket_contains_now() -> None:
    starts = HOUR.bucket_starts(NOW)

    assert len(starts) == 24
    assert (starts[0], starts[-1]) == (datetime(2026, 11, 30, 10, tzinfo=UTC), datetime(2026, 12, 1, 9, tzinfo=UTC))


def test_counts_each_email_once_by_its_current_status(submit: Submit) -> None:
    for status, seconds in [("sent", 3621), *((status.value, 65) for status in Status), ("sent", 5), ("delayed", 0)]:
        submit(status, timedelta(seconds=seconds))

    assert nonzero(MINUTE) == {
        "09:29": {"sent": 1, "waiting": 4, "bounced": 1, "failed": 1, "other": 2},
        "09:30": {"sent": 1, "waiting": 1},
    }


def test_a_retried_email_moves_from_failed_to_sent(submit: Submit) -> None:
    emails = [submit("failed", timedelta(hours=2)) for _ in range(3)]
    before = nonzero(HOUR)

    Email.objects.filter(pk=emails[0].pk).update(status="sent")

    assert (before, nonzero(HOUR)) == ({"07:00": {"failed": 3}}, {"07:00": {"sent": 1, "failed": 2}})


@pytest.mark.parametrize("resolution", RESOLUTIONS.values(), ids=RESOLUTIONS)
def test_adds_later_emails_to_cached_numbers(submit: Submit, resolution: Resolution) -> None:
    for seconds in (3, 40, 200):
        submit("sent", timedelta(seconds=seconds))
    first = sum(counts["sent"] for counts in count_emails(resolution, now=NOW).values())
    submit("sent", timedelta(seconds=10))  # committed late, with an earlier id
    submit("sent", -timedelta(seconds=50))

    later = sum(counts["sent"] for counts in count_emails(resolution, now=NOW + timedelta(seconds=55)).values())

    assert (first, later) == (3, 5)


def test_counts_many_failures_in_the_database(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    for hours in (0, 1, 1, 5):
        submit("bounced", timedelta(hours=hours))
    listed = nonzero(HOUR)
    monkeypatch.setattr("project.dashboard.email_counts.MAX_LISTED", 2)

    assert nonzero(HOUR) == listed == {"04:00": {"bounced": 1}, "08:00": {"bounced": 2}, "09:00": {"bounced": 1}}


def test_counts_past_emails_only_once(submit: Submit) -> None:
    for hours in range(20):
        submit("sent", timedelta(hours=hours))
    first = nonzero(DAY)

    with CaptureQueriesContext(connection) as queries:
        assert nonzero(DAY) == first

    assert len(queries) <= len(Status)  # one for the latest emails, and one for each status except `sent`


def test_the_rates_are_shares_of_the_emails_with_a_result() -> None:
    bucket = {"sent": 97, "waiting": 500, "bounced": 2, "failed": 1, "other": 7}

    assert final_rates([bucket]) == Rates(0.97, 0.02, 0.01)
    assert final_rates([dict.fromkeys(bucket, 0)]) == Rates(None, None, None)
