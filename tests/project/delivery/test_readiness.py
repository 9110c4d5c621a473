"""Readiness in the database: writes, the heartbeats of workers, and the age of the oldest email."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from project.delivery.heartbeat import beat
from project.delivery.liveness import hold_liveness_lock
from project.delivery.models import WorkerHeartbeat, WriteProbe
from project.delivery.readiness import MISSED_BEATS, WorkerMonitor, check_database, oldest_due_at
from project.emails.models import Email
from project.emails.status import Status
from tests.project.conftest import NOW, SubmitEmail

INTERVAL = 5.0
LIMIT = MISSED_BEATS * INTERVAL


def heartbeat(beats: int = 1, *, worker: str = "worker", beat_at: datetime = NOW) -> WorkerHeartbeat:
    """Return a worker's heartbeat."""
    return WorkerHeartbeat(worker=worker, beats=beats, beat_at=beat_at, started_at=NOW, interval_seconds=INTERVAL)


# Writes


@pytest.mark.usefixtures("shared_test_connection")
def test_the_check_leaves_no_row_behind() -> None:
    beat("worker", interval_seconds=INTERVAL, now=NOW)

    report = check_database(now=NOW)

    assert ([each.worker for each in report.heartbeats], WriteProbe.objects.count()) == (["worker"], 0)


@pytest.mark.sqlite_only("uses a PRAGMA")
@pytest.mark.usefixtures("shared_test_connection")
def test_a_read_only_database_fails_the_check() -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    try:
        with pytest.raises(OperationalError, match="readonly"), transaction.atomic():
            check_database(now=NOW)
    finally:
        cursor.execute("PRAGMA query_only = OFF")


# The age of the oldest email


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": Status.QUEUED, "created_at": NOW - timedelta(hours=2)}, NOW - timedelta(hours=2)),
        (
            {"status": Status.QUEUED, "created_at": NOW - timedelta(days=9), "scheduled_at": NOW - timedelta(minutes=1)},
            NOW - timedelta(minutes=1),
        ),
        ({"status": Status.DELAYED, "next_attempt_at": NOW - timedelta(minutes=3)}, NOW - timedelta(minutes=3)),
        ({"status": Status.SCHEDULED, "next_attempt_at": NOW + timedelta(minutes=3)}, None),
        ({"status": Status.SENT, "created_at": NOW - timedelta(hours=2)}, None),
    ],
)
def test_an_email_waits_since_it_was_due(
    submit_email: SubmitEmail, changes: dict[str, object], expected: datetime | None
) -> None:
    submit_email()
    Email.objects.update(**changes)

    assert oldest_due_at(now=NOW) == expected


# Live workers


def test_without_a_worker_there_is_no_live_worker(tmp_path: Path) -> None:
    assert not WorkerMonitor(tmp_path / "workers").has_live_worker([], monotonic=100.0, now=NOW)


@pytest.mark.parametrize(("age", "is_live"), [(0.0, True), (LIMIT - 1, True), (LIMIT, False), (86_400.0, False), (-LIMIT, False)])
def test_the_first_heartbeat_counts_only_if_it_is_recent(tmp_path: Path, age: float, is_live: bool) -> None:
    monitor = WorkerMonitor(tmp_path)

    assert monitor.has_live_worker([heartbeat(beat_at=NOW - timedelta(seconds=age))], monotonic=100.0, now=NOW) is is_live


def test_a_changing_heartbeat_is_live_whatever_the_clocks_say(tmp_path: Path) -> None:
    monitor, wrong = WorkerMonitor(tmp_path), NOW - timedelta(days=1)
    monitor.has_live_worker([heartbeat(1, beat_at=wrong)], monotonic=100.0, now=NOW)

    assert monitor.has_live_worker([heartbeat(2, beat_at=wrong)], monotonic=110.0, now=NOW)


@pytest.mark.parametrize(("seconds", "is_live"), [(LIMIT - 1, True), (LIMIT, False)])
def test_a_worker_that_stands_still_is_not_live(tmp_path: Path, seconds: float, is_live: bool) -> None:
    monitor = WorkerMonitor(tmp_path)
    for beats, monotonic in ((1, 100.0), (2, 110.0)):
        monitor.has_live_worker([heartbeat(beats)], monotonic=monotonic, now=NOW)

    assert monitor.has_live_worker([heartbeat(2)], monotonic=110.0 + seconds, now=NOW) is is_live


def test_one_live_worker_is_enough(tmp_path: Path) -> None:
    monitor = WorkerMonitor(tmp_path)
    for step in range(3):
        workers = [heartbeat(1, worker="stopped"), heartbeat(step, worker="live")]
        is_live = monitor.has_live_worker(workers, monotonic=LIMIT * step, now=NOW)

    assert is_live


def test_a_killed_worker_of_this_machine_is_not_live(tmp_path: Path) -> None:
    monitor = WorkerMonitor(tmp_path)
    with hold_liveness_lock(tmp_path) as lock:
        before = monitor.has_live_worker([heartbeat(worker=lock.name)], monotonic=100.0, now=NOW)

    assert (before, monitor.has_live_worker([heartbeat(worker=lock.name)], monotonic=100.0, now=NOW)) == (True, False)
