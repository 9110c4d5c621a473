"""Telling a dead engine from a busy one on this machine, without waiting for its leases to run out.

An engine holds a lock on a file of its own for as long as its process lives; the operating system lets go of it
however the process ends, `kill -9` included. Whoever can take the lock knows that the engine is dead.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

STARTUP_GRACE_SECONDS = 3600.0  # seconds after which whoever is still hidden does not start any more: it takes an instant


@contextmanager
def hold_liveness_lock(folder: Path) -> Iterator[str]:
    """Be an engine, by the name given, until the end of the block or of the process."""
    folder.mkdir(exist_ok=True)
    name = uuid4().hex
    hidden = folder / f".{name}"
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(folder / name)  # only now: nobody ever sees it without its lock
        yield name


def dead_workers(folder: Path) -> list[str]:
    """The names of those that ran here and run no more, until they are forgotten. Of other machines, nothing is known."""
    return [path.name for path in folder.iterdir() if _is_locked(path) is False]


def live_workers(folder: Path) -> list[str]:
    """The names of those that run here."""
    return [path.name for path in folder.iterdir() if _is_locked(path)]


def remove_dead(names: Iterable[str], folder: Path) -> None:
    """Strike dead engines off, once what they had in hand is back in the queue."""
    for name in names:
        with suppress(OSError):  # another was quicker, or may and this one may not: it stays dead
            (folder / name).unlink()


def _is_locked(path: Path) -> bool | None:
    """None if that cannot be told, as of an engine on another machine."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None  # another engine was quicker to forget it, or it is another user's
    try:
        if path.name.startswith(".") and time.time() < os.fstat(descriptor).st_mtime + STARTUP_GRACE_SECONDS:
            return None  # it just starts
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
