"""Fair write lock for a SQLite database, among the threads of a process and the processes of a machine.

SQLite has one writer. A connection that finds the database locked polls with growing sleeps until the busy timeout, and others
acquire the lock first: next to a process that writes all the time, it can wait for seconds. This lock wakes the waiting thread
instead.
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
    """Hold the write lock of this process's one database, given by its path. Reentrant: its holder may acquire it again."""
    global _is_held  # noqa: PLW0603  # guarded by the lock
    with _thread_lock:
        if _is_held:
            yield
            return
        # A database in memory belongs to this process alone.
        with _file_lock(f"{database}-write-lock") if Path(database).is_file() else nullcontext():
            _is_held = True
            try:
                yield
            finally:
                _is_held = False


@contextmanager
def _file_lock(path: str) -> Iterator[None]:
    """Hold an exclusive file lock. The operating system releases it even if the process is killed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
