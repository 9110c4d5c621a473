"""The numbers of the chart: each email once, by its current status and the time of its submission."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from project.dashboard.email_counts import RESOLUTIONS, Rates, Resolution, final_rates, read_counts
from project.emails.ids import first_id_at
from project.emails.models import Email
from project.emails.status import Status
from project.events.log import record_status_events
from project.statistics.email_counts import count_events
from project.statistics.models import EmailCount
from tests.project.dashboard.conftest import NOW

MINUTE, HOUR, DAY = RESOLUTIONS["minute"], RESOLUTIONS["hour"], RESOLUTIONS["day"]
Submit = Callable[..., Email]


@pytest.fixture
def submit(db: None) -> Submit:
    """Return a function that creates an email submitted `ago` before NOW, with an event."""
    numbers = count(1)

    def submit(status: str, ago: timedelta = timedelta()) -> Email:
        email_id = UUID(int=first_id_at(NOW - ago).int + next(numbers))
        email = Email.objects.create(id=email_id, status=status, created_at=NOW - ago, recipients=["a@b.example"])
        record_status_events([email], now=NOW - ago)
        return email

    return submit


def nonzero(resolution: Resolution, now: datetime = NOW) -> dict[str, dict[str, int]]:
    """Return the counts that are not zero, by the start time of the bucket as HH:MM."""
    count_events(now=now)
    buckets = read_counts(resolution, now=now).items()
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

    emails[0].status = "sent"
    record_status_events(emails[:1], now=NOW)

    assert (before, nonzero(HOUR)) == ({"07:00": {"failed": 3}}, {"07:00": {"sent": 1, "failed": 2}})


@pytest.mark.parametrize("resolution", RESOLUTIONS.values(), ids=RESOLUTIONS)
def test_every_resolution_contains_all_emails_of_its_time_span(submit: Submit, resolution: Resolution) -> None:
    first = resolution.bucket_starts(NOW)[0]
    for moment in (first - timedelta(milliseconds=1), first, NOW - timedelta(seconds=90), NOW):
        submit("sent", NOW - moment)

    count_events(now=NOW)

    assert sum(counts["sent"] for counts in read_counts(resolution, now=NOW).values()) == 3


def test_a_number_is_never_negative(db: None) -> None:
    """Emails may be deleted by other means than Mailrail's own."""
    EmailCount.objects.create(span="minute", start=MINUTE.bucket_starts(NOW)[-1], sent=-1, failed=2)

    assert list(read_counts(MINUTE, now=NOW).values())[-1] == {"sent": 0, "waiting": 0, "bounced": 0, "failed": 2, "other": 0}


def test_the_rates_are_shares_of_the_emails_with_a_result() -> None:
    bucket = {"sent": 97, "waiting": 500, "bounced": 2, "failed": 1, "other": 7}

    assert final_rates([bucket]) == Rates(0.97, 0.02, 0.01)
    assert final_rates([dict.fromkeys(bucket, 0)]) == Rates(None, None, None)
