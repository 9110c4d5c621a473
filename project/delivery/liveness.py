"""Liveness locks: they show which delivery workers on this machine are alive, without waiting for leases to expire.

Each worker holds a lock (flock) on a file of its own. The operating system releases the lock however the process ends, even
after `kill -9`, so a lock that can be acquired belongs to a dead worker.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

STARTUP_GRACE_SECONDS = 3600.0  # an older hidden file was left by a crash, because starting takes only an instant


@contextmanager
def hold_liveness_lock(folder: Path) -> Iterator[str]:
    """Create and lock a file for a new worker. Yield the worker's name, which is the file's name."""
    folder.mkdir(exist_ok=True)
    name = uuid4().hex
    hidden = folder / f".{name}"
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(folder / name)  # after locking, so that the file is never visible without its lock
        yield name


def dead_workers(folder: Path) -> list[str]:
    """Return the names of this machine's dead workers whose files still exist. Workers on other machines are unknown."""
    return [path.name for path in folder.iterdir() if _is_locked(path) is False]


def live_workers(folder: Path) -> list[str]:
    """Return the names of the workers that run on this machine."""
    return [path.name for path in folder.iterdir() if _is_locked(path)]


def remove_dead(names: Iterable[str], folder: Path) -> None:
    """Delete the files of dead workers. Call this after their emails are back in the queue."""
    for name in names:
        # Another worker may have deleted the file, or this user lacks the permission and the worker stays listed as dead.
        with suppress(OSError):
            (folder / name).unlink()


def _is_locked(path: Path) -> bool | None:
    """Return whether a worker's file is locked, or None if that cannot be determined."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # another worker deleted the file, or the file belongs to another user
    try:
        if path.name.startswith(".") and time.time() < os.fstat(descriptor).st_mtime + STARTUP_GRACE_SECONDS:
            return None  # the worker is just starting
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
