"""Counters that several processes share. The processes are connections with different process ids."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from project.config.rates import parse_rate
from project.limits import shared_counters
from project.limits.connection_slots import TooManyConnections, connection_slot
from project.limits.rate_limits import RateLimited, hit
from project.limits.shared_counters import HITS_PER_PRUNING, SharedCounters, counters_file


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(shared_counters, "monotonic", lambda: self.now)


@pytest.fixture
def path() -> Iterator[Path]:
    """Return the path of a new database for counters."""
    with counters_file() as path:
        yield path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the monotonic clock."""
    return Clock(monkeypatch)


def connect(path: Path, monkeypatch: pytest.MonkeyPatch, *, process: int) -> SharedCounters:
    """Return the counters of a process with this id."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: process)
        return SharedCounters(path)


def ended_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# Requests


def test_processes_count_together_in_a_window_from_the_first_request(path: Path, clock: Clock) -> None:
    first, second = SharedCounters(path), SharedCounters(path)

    counts = [first.hit("ada", 60, 1), second.hit("ada", 60, 1)]
    clock.now += 59
    counts.append(first.hit("ada", 60, 1))
    clock.now += 1
    counts.append(second.hit("ada", 60, 1))

    assert counts == [1, 2, 3, 1]


def test_returns_the_count_and_the_rest_of_the_window(path: Path, clock: Clock) -> None:
    counters = SharedCounters(path)
    counters.hit("ada", 60, 2)
    clock.now += 20

    assert counters.find("ada") == (2, 40.0)
    assert counters.find("grace") == (0, 0.0)


def test_deletes_windows_that_have_ended(path: Path, clock: Clock) -> None:
    counters = SharedCounters(path)
    for number in range(HITS_PER_PRUNING - 1):
        counters.hit(f"old {number}", 1, 1)
    clock.now += 1

    counters.hit("new", 60, 1)

    assert counters.clear() == 1


@pytest.mark.anyio
async def test_two_processes_share_a_rate_limit(path: Path, settings: Settings) -> None:
    settings.RATE_LIMITS, settings.SHARED_COUNTERS = {"key": parse_rate("3/minute")}, path
    other = SharedCounters(path)
    await hit("key", "key:1")
    (key,) = [row[0] for row in sqlite3.connect(path).execute("SELECT key FROM hits")]

    other.hit(key, 60, 1)
    status = await hit("key", "key:1")

    assert status is not None
    assert status.remaining == 0
    with pytest.raises(RateLimited):
        await hit("key", "key:1")


@pytest.mark.anyio
async def test_counts_alone_while_another_process_holds_the_lock(
    path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RATE_LIMITS, settings.SHARED_COUNTERS = {"key": parse_rate("1/minute")}, path
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    await hit("key", "key:1")
    with pytest.raises(RateLimited):
        await hit("key", "key:1")

    blocker.close()
    assert caplog.text.count("The database of shared counters is unavailable") == 1


# Slots


def test_processes_share_the_slots_of_an_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = connect(path, monkeypatch, process=1), connect(path, monkeypatch, process=2)
    monkeypatch.setattr(shared_counters, "_is_running", bool)

    results = [first.occupy("ada", limit=2), second.occupy("ada", limit=2), first.occupy("ada", limit=2)]
    second.free("ada")
    results.append(first.occupy("ada", limit=2))

    assert results == [True, True, False, True]
    assert first.occupy("grace", limit=1)


def test_frees_the_slots_of_a_process_that_has_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = connect(path, monkeypatch, process=ended_process())
    assert killed.occupy("ada", limit=1)

    assert connect(path, monkeypatch, process=1).occupy("ada", limit=1)


def test_a_connection_slot_counts_the_connections_of_all_processes(
    path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAX_STREAMS_PER_CALLER, settings.SHARED_COUNTERS = 1, path
    other = connect(path, monkeypatch, process=os.getppid())
    assert other.occupy("key:1", limit=1)

    with pytest.raises(TooManyConnections), connection_slot("key:1"):
        pass
    other.free("key:1")
    with connection_slot("key:1"):
        assert not other.occupy("key:1", limit=1)
    assert other.occupy("key:1", limit=1)


def test_a_connection_slot_is_counted_alone_if_the_file_is_gone(settings: Settings, tmp_path: Path) -> None:
    settings.MAX_STREAMS_PER_CALLER, settings.SHARED_COUNTERS = 1, tmp_path / "missing"
    with connection_slot("key:1"), pytest.raises(TooManyConnections), connection_slot("key:1"):
        pass
