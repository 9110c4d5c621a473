"""Fair write lock for a SQLite database, shared by the threads of a process and the processes of a machine.

SQLite has one writer. A connection that finds the database locked polls with growing sleeps until the busy timeout. Meanwhile
other connections acquire SQLite's lock first. So a connection can wait for seconds while another process writes all the time.
The lock of this module wakes a waiting thread instead. It raises `OperationalError` after a timeout, as SQLite does.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import OperationalError

_thread_lock = threading.RLock()
_is_held = False  # by this process
_pending: dict[str, "_PendingFileLock"] = {}  # by path; guarded by `_thread_lock`


@contextmanager
def write_lock(database: str, *, timeout: float) -> Iterator[None]:
    """Hold the write lock, which is reentrant. `database` is the path of the only SQLite database of this process.

    Raises `OperationalError` if the lock is not acquired within `timeout` seconds.
    """
    global _is_held  # noqa: PLW0603  # guarded by the lock
    deadline = time.monotonic() + timeout
    if not _thread_lock.acquire(timeout=timeout):
        raise _locked(timeout)
    try:
        if _is_held:
            yield
            return
        # An in-memory database belongs to this process alone, and needs no file lock.
        descriptor = _lock_file(f"{database}-write-lock", timeout, deadline) if Path(database).is_file() else None
        _is_held = True
        try:
            yield
        finally:
            _is_held = False
            if descriptor is not None:
                os.close(descriptor)  # releases the file lock
    finally:
        _thread_lock.release()


def _lock_file(path: str, timeout: float, deadline: float) -> int:
    """Return the descriptor of the locked file. The operating system releases the lock even if the process is killed."""
    pending = _pending.get(path)
    if pending is None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pending = _pending[path] = _PendingFileLock(descriptor)
        else:
            return descriptor
    if not pending.wait(max(0.0, deadline - time.monotonic())):
        raise _locked(timeout)
    del _pending[path]
    return pending.descriptor


class _PendingFileLock:
    """A file lock that another process holds, and for which a thread waits, because `flock` itself has no timeout.

    After a timeout, the thread keeps waiting, and the next caller waits for the same thread. A lock that arrives while no caller
    waits is released.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._changed = threading.Condition()
        self._has_waiter = False
        self._is_locked = False
        threading.Thread(target=self._lock, name="sqlite-write-lock", daemon=True).start()

    def wait(self, timeout: float) -> bool:
        """Wait for the lock. Return False after `timeout` seconds."""
        with self._changed:
            self._has_waiter = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._is_locked, timeout)
            finally:
                self._has_waiter = False

    def _lock(self) -> None:
        while True:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            with self._changed:
                if self._has_waiter:
                    self._is_locked = True
                    self._changed.notify_all()
                    return
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
                self._changed.wait_for(lambda: self._has_waiter)


def _locked(timeout: float) -> OperationalError:
    return OperationalError(f"database is locked: the write lock was not free within {timeout:g} s")
