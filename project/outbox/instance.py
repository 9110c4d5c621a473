"""Telling a dead engine from a busy one on this machine, without waiting for its leases to run out.

An engine holds a lock on a file of its own for as long as its process lives; the operating system lets go of it
however the process ends, `kill -9` included. Whoever can take the lock knows that the engine is dead.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def alive(folder: Path) -> Iterator[str]:
    """Be an engine, by the name given, until the end of the block or of the process."""
    folder.mkdir(exist_ok=True)
    name = uuid4().hex
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield name


def dead_engines(folder: Path) -> list[str]:
    """The names of those that ran here and run no more, until they are forgotten. Of other machines, nothing is known."""
    return [path.name for path in folder.iterdir() if _is_dead(path)]


def forget(names: Iterable[str], folder: Path) -> None:
    """Strike dead engines off, once what they had in hand is back in the queue."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _is_dead(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False  # another engine was quicker to forget it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
