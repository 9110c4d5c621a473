"""The write lock for SQLite, with several processes."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection

from project.accounts.models import User
from project.bridge.database.transactions import acquire_write_lock, close_threads, run_in_transaction
from tests.processes import ROOT, wait_for

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite_only("the write lock is that of SQLite files")]

HOLDER = """
import sqlite3, sys
from project.bridge.database.write_lock import write_lock

path, name = sys.argv[1:]
with write_lock(path, timeout=60):
    print("locked", flush=True)
    input()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE accounts_user SET username = ?", [name])
"""


@pytest.fixture
def ada(transactional_db: None) -> Iterator[User]:
    """A user, in a database file that other processes see."""
    yield User.objects.create_user("ada")
    close_threads()


@contextmanager
def lock_held_by_another_process(*, renames_to: str = "grace") -> "Iterator[subprocess.Popen[str]]":
    """Yield a process that holds the lock. When the process reads a line, it renames the user and releases the lock."""
    path = str(connection.settings_dict["NAME"])
    command = [sys.executable, "-c", HOLDER, path, renames_to]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def _waits_for_a_lock() -> bool:
    """Return whether this process waits for a file lock (proc_locks(5): `->` marks blocked processes)."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and f" {os.getpid()} " in line for line in lines)


def _name() -> str:
    return User.objects.get().username


@pytest.mark.pitfall(14)
async def test_waits_for_another_process_and_then_sees_what_it_wrote(ada: User) -> None:
    with lock_held_by_another_process(renames_to="grace") as other:
        waiting = asyncio.create_task(run_in_transaction(_name))
        await asyncio.to_thread(wait_for, _waits_for_a_lock, "the call waits for the lock")
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()

        assert await waiting == "grace"


@pytest.mark.pitfall(14)
async def test_the_lock_of_a_killed_process_is_released(ada: User) -> None:
    with lock_held_by_another_process() as other:
        other.kill()
        other.wait()

        assert await run_in_transaction(_name) == "ada"


async def test_the_lock_is_reentrant(ada: User) -> None:
    def lock_twice() -> str:
        with acquire_write_lock(), acquire_write_lock():
            return _name()

    assert await run_in_transaction(lock_twice) == "ada"


async def test_the_wait_for_another_process_has_a_limit_and_the_lock_is_usable_afterwards(ada: User) -> None:
    options = connection.settings_dict["OPTIONS"]
    with lock_held_by_another_process(renames_to="grace") as other:
        with patch.dict(options, timeout=0.2):
            errors = await asyncio.gather(*(run_in_transaction(_name) for _ in range(3)), return_exceptions=True)
        other.communicate("\n")

        names = [await run_in_transaction(_name) for _ in range(3)]

    assert [type(error) for error in errors] == [OperationalError] * 3
    assert names == ["grace"] * 3


async def test_the_wait_for_another_thread_has_a_limit(ada: User) -> None:
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait()

    holding = asyncio.ensure_future(run_in_transaction(hold))
    await asyncio.to_thread(held.wait)
    with (
        patch.dict(connection.settings_dict["OPTIONS"], timeout=0.1),
        pytest.raises(OperationalError, match="database is locked"),
    ):
        await run_in_transaction(_name)

    release.set()
    await holding
