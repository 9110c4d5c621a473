"""Fair write lock for a SQLite database, shared by the threads of a process and the processes of a machine.

SQLite has one writer. A connection that finds the database locked polls with growing sleeps until the busy timeout. Meanwhile
other connections acquire SQLite's lock first. So a connection can wait for seconds while another process writes all the time.
The lock of this module wakes a waiting thread instead.
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
    """Hold the write lock, which is reentrant. `database` is the path of the only SQLite database of this process."""
    global _is_held  # noqa: PLW0603  # guarded by the lock
    with _thread_lock:
        if _is_held:
            yield
            return
        # An in-memory database belongs to this process alone, and needs no file lock.
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
