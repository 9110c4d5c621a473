"""Liveness locks: which workers of this machine are dead, and what they were sending."""

import fcntl
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from project.delivery.liveness import (
    STARTUP_GRACE_SECONDS,
    UUID_BYTES,
    dead_workers,
    hold_liveness_lock,
    read_sending,
    remove_dead,
)
from tests.processes import ROOT

WORKER = """
import sys, pathlib
from project.delivery.liveness import hold_liveness_lock
with hold_liveness_lock(pathlib.Path(sys.argv[1])) as lock:
    print(lock.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the liveness locks."""
    return tmp_path / "workers"


@pytest.fixture
def process(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that acquires a liveness lock and prints the worker's name."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def name_of(process: "subprocess.Popen[str]") -> str:
    """Return the worker's name. The process prints the name as soon as it holds the lock."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_worker_has_a_unique_name(folder: Path) -> None:
    with hold_liveness_lock(folder) as first, hold_liveness_lock(folder) as second:
        assert first.name != second.name
        assert len(first.name) <= 32  # the maximum length of Email.claimed_by


def test_a_worker_of_this_process_is_not_dead(folder: Path) -> None:
    with hold_liveness_lock(folder) as lock:
        assert ([path.name for path in folder.iterdir()], dead_workers(folder)) == ([lock.name], [])


def test_a_worker_that_is_starting_is_not_dead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock_late(file: object, operation: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", flock)
            seen.extend(dead_workers(folder))
            flock(file, operation)

    flock: Any = fcntl.flock
    seen: list[str] = []
    monkeypatch.setattr(fcntl, "flock", lock_late)

    with hold_liveness_lock(folder) as lock:
        monkeypatch.undo()
        assert ([path.name for path in folder.iterdir()], seen) == ([lock.name], [])


def test_a_worker_that_died_while_starting_is_dead_after_the_grace_period(folder: Path) -> None:
    folder.mkdir()
    hidden = folder / ".started"
    hidden.touch()
    before = dead_workers(folder)
    os.utime(hidden, times=(0, time.time() - STARTUP_GRACE_SECONDS))

    assert (before, dead_workers(folder)) == ([], [".started"])


def test_a_worker_that_ended_is_dead(folder: Path) -> None:
    with hold_liveness_lock(folder) as lock:
        pass

    assert dead_workers(folder) == [lock.name]


def test_a_kept_lock_outlives_its_context(folder: Path) -> None:
    with hold_liveness_lock(folder) as lock:
        lock.keep_until_exit()
    during = dead_workers(folder)
    os.close(lock._descriptor)  # as the operating system does when the process exits

    assert (during, dead_workers(folder)) == ([], [lock.name])


def test_the_file_lists_the_emails_that_are_being_sent(folder: Path) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    with hold_liveness_lock(folder) as lock:
        started = read_sending(lock.name, folder)
        lock.add_sending(first)
        lock.add_sending(second)
        both = read_sending(lock.name, folder)
        lock.remove_sending(first)
        lock.add_sending(third)

        assert (started, both, read_sending(lock.name, folder)) == (set(), {first, second}, {second, third})


def test_the_file_has_room_for_any_number_of_emails_and_uses_its_space_again(folder: Path) -> None:
    emails = {uuid4() for _ in range(2 * mmap.PAGESIZE // UUID_BYTES)}
    with hold_liveness_lock(folder) as lock:
        for _round in range(3):
            for email in emails:
                lock.add_sending(email)
            listed = read_sending(lock.name, folder)
            for email in emails:
                lock.remove_sending(email)

        assert (listed, read_sending(lock.name, folder)) == (emails, set())
        assert (folder / lock.name).stat().st_size <= 3 * mmap.PAGESIZE


def test_what_a_worker_of_another_machine_was_sending_is_unknown(folder: Path) -> None:
    assert read_sending("elsewhere", folder) is None


def test_a_worker_of_another_process_is_alive(folder: Path, process: "subprocess.Popen[str]") -> None:
    name = name_of(process)

    assert [path.name for path in folder.iterdir()] == [name]
    assert dead_workers(folder) == []


@pytest.mark.pitfall(26)
def test_a_worker_of_a_killed_process_is_dead(folder: Path, process: "subprocess.Popen[str]") -> None:
    name = name_of(process)
    process.kill()
    process.wait()

    with hold_liveness_lock(folder):
        assert dead_workers(folder) == [name]


def test_a_dead_worker_is_listed_until_it_is_removed(folder: Path) -> None:
    with hold_liveness_lock(folder) as lock:
        pass
    assert dead_workers(folder) == dead_workers(folder) == [lock.name]

    remove_dead([lock.name], folder)

    assert dead_workers(folder) == []


def test_ignores_a_worker_that_another_worker_removed_first(folder: Path) -> None:
    folder.mkdir()
    (folder / "gone").symlink_to(folder / "nowhere")  # as if the file were deleted after the folder was listed

    assert dead_workers(folder) == []
    remove_dead(["gone", "never existed"], folder)
    assert list(folder.iterdir()) == []


def test_a_worker_whose_file_cannot_be_opened_is_not_dead(folder: Path) -> None:
    folder.mkdir()
    (folder / "loop").symlink_to("loop")  # root can open the files of other users, but not a symlink that points to itself

    assert dead_workers(folder) == []


def test_ignores_a_dead_worker_that_cannot_be_removed(folder: Path) -> None:
    (folder / "directory").mkdir(parents=True)  # `unlink` cannot delete a directory

    remove_dead(["directory"], folder)

    assert dead_workers(folder) == ["directory"]
