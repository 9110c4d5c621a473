"""The dashboard's figures, who may see them, and how the service says that it stands."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from project.accounts.models import User
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
from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.events.models import Event
from project.web.views import BEHIND, DOWN, WORKING, service_status
from tests.project.conftest import Accept

NOW = datetime(2026, 12, 1, 9, 30, 20, tzinfo=UTC)
MINUTE, HOUR = RESOLUTIONS["minute"], RESOLUTIONS["hour"]
FIGURES = "/admin/dashboard/stats"

Happen = Callable[..., Event]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """What was counted for one test is not another's."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def happen(accept: Accept) -> Happen:
    """Let something happen to a mail, so long before NOW. The mail was accepted a second before that."""
    accepted = accept()
    Event.objects.all().delete()

    def happen(status: str, ago: timedelta = timedelta(), **email: Any) -> Event:
        values: dict[str, Any] = {**Email.objects.filter(pk=accepted.pk).values().get(), "status": status}
        at = NOW - ago
        del values["id"]
        mail = Email.objects.create(**(values | {"created_at": at - timedelta(seconds=1)} | email))
        return Event.objects.create(email=mail, type=f"email.{status}", created_at=at, data={})

    return happen


def counted(unit: Resolution, now: datetime = NOW) -> dict[str, dict[str, int]]:
    """The parts in which something was counted."""
    found = bucket_counts(unit, now=now)
    return {f"{start:%H:%M}": count for start, count in found.items() if any(count.values())}


def test_a_time_is_divided_into_parts_that_end_with_this_one() -> None:
    starts = HOUR.starts(NOW)

    assert len(starts) == 24
    assert (starts[0], starts[-1]) == (datetime(2026, 11, 30, 10, tzinfo=UTC), datetime(2026, 12, 1, 9, tzinfo=UTC))


def test_counts_what_happened_in_each_minute(happen: Happen) -> None:
    for status, seconds in (
        ("sent", 3601),
        ("sent", 70),
        ("bounced", 65),
        ("failed", 64),
        ("queued", 63),
        ("delayed", 5),
        ("sent", 0),
    ):
        happen(status, timedelta(seconds=seconds))

    assert counted(MINUTE) == {
        "09:29": {"sent": 1, "delayed": 0, "failed": 2},
        "09:30": {"sent": 1, "delayed": 1, "failed": 0},
    }


def test_what_comes_later_is_added_to_what_was_counted(happen: Happen) -> None:
    happen("sent")
    first = counted(MINUTE)
    happen("sent", -timedelta(seconds=10))
    happen("sent", -timedelta(seconds=50))

    assert [first["09:30"]["sent"], counted(MINUTE, NOW + timedelta(seconds=55))["09:30"]["sent"]] == [1, 2]
    assert counted(MINUTE, NOW + timedelta(minutes=5))["09:31"]["sent"] == 1


def test_what_is_over_is_not_counted_again(happen: Happen) -> None:
    for hours in reversed(range(20)):
        happen("sent", timedelta(hours=hours))
    first = counted(HOUR)

    with CaptureQueriesContext(
        connection,
    ) as again:
        assert counted(HOUR) == first

    assert len(first) == 20
    assert len(again) <= 2


def test_an_empty_installation_has_counted_nothing(db: None) -> None:
    assert counted(MINUTE) == {}
    assert read_latency(now=NOW) == Latency(0, None, None)
    assert top_failures() == []


@pytest.mark.parametrize(("moment", "found"), [(0, 1), (10, 1), (11, 2), (20, 2), (30, 5), (31, 6)])
def test_finds_the_first_event_since_a_moment(happen: Happen, moment: int, found: int) -> None:
    first = min(happen("sent", -timedelta(seconds=second)).pk for second in (10, 20, 25, 27, 30))

    since = first_event_id_since(NOW + timedelta(seconds=moment), low=first, high=first + 5)

    assert since - first + 1 == found


def test_latency_counts_from_when_a_mail_was_due(happen: Happen) -> None:
    happen("sent", timedelta(hours=2), created_at=NOW - timedelta(days=1))  # too long ago
    for seconds in range(1, 21):
        happen("sent", created_at=NOW - timedelta(seconds=seconds))
    happen("sent", created_at=NOW - timedelta(days=3), scheduled_at=NOW - timedelta(seconds=0.5))

    assert read_latency(now=NOW) == Latency(21, 10.0, 19.0)


@pytest.mark.parametrize(("values", "percent", "found"), [([], 50, None), ([1.0], 95, 1.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.0)])
def test_a_percentile_is_one_of_the_values(values: list[float], percent: int, found: float | None) -> None:
    assert percentile(values, percent) == found


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("550 5.1.1 <ada@example.com>: No such user", "550 5.1.1 …: No such user"),
        ("452 4.2.2 Queue 4D2C11AB9 full", "452 4.2.2 Queue … full"),
        ("SMTPRecipientsRefused: {'ada@example.com': (550, b'5.1.1 No such mailbox')}", "550 5.1.1 No such mailbox"),
        ("", "No reply"),
    ],
)
def test_a_reply_is_told_without_what_only_one_mail_has(reply: str, said: str) -> None:
    assert generalize_reply(reply) == said


def test_equal_replies_are_counted_together(happen: Happen) -> None:
    for address in ("ada@example.com", "grace@example.com"):
        happen("bounced", last_error=f"550 <{address}> No such user")
    happen("delayed", last_error="451 Not now")

    assert top_failures() == [
        Failure("550 … No such user", 2, "bounced"),
        Failure("451 Not now", 1, "delayed"),
    ]


def test_a_mail_that_was_retried_waits_since_then(happen: Happen) -> None:
    old = happen("queued", timedelta(minutes=1), created_at=NOW - timedelta(days=9)).email
    Email.objects.exclude(pk=old.pk).delete()

    assert read_queue_depths().oldest == NOW - timedelta(minutes=1)
    assert read_queue_depths().depths == {"queued": 1, "sending": 0, "delayed": 0, "scheduled": 0}


# Who may see it


def test_the_figures_come_with_the_last_events_and_where_they_end(owner: User, accept: Accept) -> None:
    client, event = Client(), Event.objects.get(email=accept("Hello Ada"))
    client.force_login(owner)

    told = client.get(FIGURES).json()

    assert (told["cursor"], [each["id"] for each in told["events"]]) == (event.pk, [event.pk])
    assert told["queue"]["depths"]["queued"] == 1
    assert told["transport"] == {"name": "Embedded mailbox", "pauses": []}


def test_an_unknown_unit_is_not_found(owner: User) -> None:
    client = Client()
    client.force_login(owner)

    assert client.get(f"{FIGURES}?unit=year").status_code == 404


def test_who_may_not_see_mail_sees_no_figures(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    assert client.get(FIGURES).status_code == 403
    assert 'id="dashboard"' not in client.get("/admin/").content.decode()
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    assert client.get(FIGURES).status_code == 200
    assert 'id="dashboard"' in client.get("/admin/").content.decode()


@pytest.mark.parametrize("path", [FIGURES, "/play", "/admin/emails/email/progress/"])
def test_strangers_are_asked_to_log_in(db: None, path: str) -> None:
    answer = Client().get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={path}")


def test_a_relay_that_pauses_is_told(owner: User, settings: Any) -> None:
    RelayOutage.objects.create(
        worker="e", started_at=NOW, next_probe_at=NOW + timedelta(seconds=40), failures=3, error="Connection refused"
    )
    client = Client()
    client.force_login(owner)

    (pause,) = client.get(FIGURES).json()["transport"]["pauses"]

    assert (pause["failures"], pause["error"]) == (3, "Connection refused")


# How it stands


def test_it_works_when_nothing_waits(db: None) -> None:
    assert service_status() == WORKING
    assert "Working" in Client().get("/").content.decode()


@pytest.mark.parametrize(("backend", "needs_key"), [("django.core.mail.backends.smtp.EmailBackend", True), (None, False)])
def test_the_call_it_shows_has_a_key_where_one_is_needed(
    db: None, settings: Settings, backend: str | None, needs_key: bool
) -> None:
    settings.EMAIL_BACKEND = backend or settings.MAILBOX_BACKEND

    page = Client().get("/").content.decode()

    assert ("Authorization: Bearer $API_KEY" in page) == needs_key
    assert ("No key needed" in page) != needs_key


def test_it_is_behind_when_mail_waits_too_long(accept: Accept) -> None:
    accept()
    assert service_status() == WORKING

    Event.objects.update(created_at=timezone.now() - timedelta(minutes=3))

    assert service_status() == BEHIND


def test_it_says_that_the_relay_pauses_and_nothing_more(db: None) -> None:
    RelayOutage.objects.create(
        worker="e", started_at=NOW, next_probe_at=NOW, failures=3, error="relay.internal: Connection refused"
    )

    page = Client().get("/").content.decode()

    assert "Relay paused" in page
    assert "relay.internal" not in page


def test_it_says_so_when_the_database_does_not_answer(db: None) -> None:
    def refuse(*_args: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse):
        assert service_status() == DOWN
