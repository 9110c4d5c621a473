"""Telling a dead engine from a busy one."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from project.delivery.liveness import STARTUP_GRACE_SECONDS, dead_workers, hold_liveness_lock, live_workers, remove_dead
from tests.processes import ROOT

WORKER = """
import sys, pathlib
from project.delivery.liveness import hold_liveness_lock
with hold_liveness_lock(pathlib.Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where engines see each other."""
    return tmp_path / "workers"


@pytest.fixture
def process(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that is an engine, and says its name."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def name_of(process: "subprocess.Popen[str]") -> str:
    """What it says its name is, once it is alive."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_engine_has_a_name_of_its_own(folder: Path) -> None:
    with hold_liveness_lock(folder) as one, hold_liveness_lock(folder) as other:
        assert one != other
        assert len(one) <= 32  # Email.claimed_by


def test_an_engine_of_this_process_is_alive(folder: Path) -> None:
    with hold_liveness_lock(folder) as name:
        assert (live_workers(folder), dead_workers(folder)) == ([name], [])


def test_an_engine_that_just_starts_is_not_taken_for_dead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock_late(file: object, operation: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", flock)
            seen.extend(dead_workers(folder))
            flock(file, operation)

    flock: Any = fcntl.flock
    seen: list[str] = []
    monkeypatch.setattr(fcntl, "flock", lock_late)

    with hold_liveness_lock(folder) as name:
        monkeypatch.undo()
        assert (seen, live_workers(folder)) == ([], [name])


def test_an_engine_that_ended_while_it_started_is_forgotten_in_the_end(folder: Path) -> None:
    folder.mkdir()
    hidden = folder / ".started"
    hidden.touch()
    at_first = dead_workers(folder)
    os.utime(hidden, times=(0, time.time() - STARTUP_GRACE_SECONDS))

    assert (at_first, dead_workers(folder)) == ([], [".started"])


def test_an_engine_that_ended_is_dead(folder: Path) -> None:
    with hold_liveness_lock(folder) as name:
        pass

    assert (live_workers(folder), dead_workers(folder)) == ([], [name])


def test_an_engine_of_another_process_is_alive(folder: Path, process: "subprocess.Popen[str]") -> None:
    name = name_of(process)

    assert [path.name for path in folder.iterdir()] == [name]
    assert dead_workers(folder) == []


@pytest.mark.pitfall(26)
def test_an_engine_whose_process_was_killed_is_dead(folder: Path, process: "subprocess.Popen[str]") -> None:
    name = name_of(process)
    process.kill()
    process.wait()

    with hold_liveness_lock(folder):
        assert dead_workers(folder) == [name]


def test_a_dead_engine_is_dead_until_it_is_forgotten(folder: Path) -> None:
    with hold_liveness_lock(folder) as name:
        pass
    assert dead_workers(folder) == dead_workers(folder) == [name]

    remove_dead([name], folder)

    assert dead_workers(folder) == []


def test_an_engine_that_another_forgot_first_is_no_trouble(folder: Path) -> None:
    folder.mkdir()
    (folder / "gone").symlink_to(folder / "nowhere")  # listed, but no more there when it is opened

    assert dead_workers(folder) == []
    remove_dead(["gone", "never was"], folder)
    assert list(folder.iterdir()) == []


def test_of_an_engine_that_may_not_be_looked_at_nothing_is_known(folder: Path) -> None:
    folder.mkdir()
    (folder / "others").symlink_to("others")  # a loop cannot be opened; what is another user's can be, by root

    assert (live_workers(folder), dead_workers(folder)) == ([], [])


def test_an_engine_that_cannot_be_forgotten_is_no_trouble(folder: Path) -> None:
    (folder / "others").mkdir(parents=True)  # which `unlink` may not

    remove_dead(["others"], folder)

    assert dead_workers(folder) == ["others"]
