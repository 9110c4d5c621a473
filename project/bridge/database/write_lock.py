"""Turns to write to a SQLite database: among the threads of a process, and among the processes of a machine.

SQLite has one writer. Who finds it taken sleeps and looks again, longer each time, and is overtaken meanwhile: beside a process
that writes all the time, for seconds. Who waits here is woken.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

_thread_lock = threading.RLock()
_is_held = False  # by this process


@contextmanager
def write_lock(database: str) -> Iterator[None]:
    """Wait for the turn to write to the one database of this process, a path, and have it. Who has it may take it again."""
    global _is_held  # noqa: PLW0603  # guarded by the lock
    with _thread_lock:
        if _is_held:
            yield
            return
        with _file_lock(f"{database}-turn") if Path(database).is_file() else nullcontext():  # one in memory is this process' own
            _is_held = True
            try:
                yield
            finally:
                _is_held = False


@contextmanager
def _file_lock(path: str) -> Iterator[None]:
    """Among processes: the operating system lets go of the lock however its process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
