"""Heartbeats: what a worker stores, and how another process judges whether the worker still runs."""

from datetime import timedelta

import pytest

from project.delivery.heartbeat import SilenceObserver, WorkerActivity, beat, read_activity, remove_heartbeats
from project.delivery.lease import LEASE
from tests.project.conftest import NOW, Claim


def test_each_heartbeat_changes_the_activity(shared_test_connection: None) -> None:
    found = []
    for seconds in range(3):
        beat("worker", interval_seconds=5.0, now=NOW + timedelta(seconds=seconds))
        found.append(read_activity())

    assert [each["worker"].beats for each in found] == [1, 2, 3]


def test_the_activity_contains_the_leases_of_workers_without_a_heartbeat(claim: Claim) -> None:
    claim(worker="older version")
    claim(worker="older version", now=NOW + LEASE)

    assert read_activity() == {"older version": WorkerActivity(None, NOW + 2 * LEASE, NOW + LEASE)}


def test_a_worker_that_has_ended_has_no_activity(shared_test_connection: None) -> None:
    beat("worker", interval_seconds=5.0, now=NOW)

    remove_heartbeats(["worker"])

    assert read_activity() == {}


def test_a_worker_is_silent_as_long_as_its_sign_of_life_does_not_change() -> None:
    observer = SilenceObserver()
    for now, beats in ((100.0, 1), (105.0, 1), (110.0, 1)):
        observer.observe({"worker": beats}, now=now)
    silent = observer.silent_seconds("worker")
    observer.observe({"worker": 2}, now=115.0)

    assert (silent, observer.silent_seconds("worker")) == (10.0, 0.0)


def test_an_unknown_worker_is_not_silent() -> None:
    observer = SilenceObserver()
    observer.observe({"first": 1}, now=100.0)
    observer.observe({"second": 1}, now=200.0)

    assert [observer.silent_seconds(worker) for worker in ("first", "second", "third")] == [0.0] * 3


@pytest.mark.parametrize(("stopped_for", "expected"), [(3.0, 3.0), (3600.0, 10.0)])
def test_the_time_in_which_the_observer_itself_was_stopped_counts_only_up_to_a_limit(stopped_for: float, expected: float) -> None:
    observer = SilenceObserver(max_gap_seconds=10.0)
    for now in (100.0, 100.0 + stopped_for):
        observer.observe({"worker": 1}, now=now)

    assert observer.silent_seconds("worker") == expected
