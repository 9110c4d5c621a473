"""Liveness locks: they show at once which delivery workers on this machine are dead, without waiting for leases to expire.

Each worker holds a lock (flock) on a file of its own. The operating system releases the lock however the process ends, even
after `kill -9`, so a lock that can be acquired belongs to a dead worker. A lock that is held proves nothing: its process may be
stopped. Heartbeats show whether such a worker still works (`project.delivery.heartbeat`).
"""

import fcntl
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

STARTUP_GRACE_SECONDS = 3600.0  # an older hidden file was left by a crash, because starting takes only an instant
UUID_BYTES = 16
FREE_SLOT = bytes(UUID_BYTES)
FILE_MODE = 0o600


class LivenessLock:
    """The lock of one worker. The file's name is the worker's name; the file's content are the emails that it is sending."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor
        self._is_kept = False
        self._slots: dict[UUID, int] = {}  # {email: number of its 16 bytes in the file}
        self._free_slots: list[int] = []
        self._memory: mmap.mmap

    def acquire(self) -> None:
        """Lock the file, which no other process uses yet."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def add_sending(self, email_id: UUID) -> None:
        """Store that an email is being sent, in case this process dies. Raises `OSError` if the disk is full."""
        if not self._free_slots:
            self._add_slots()
        slot = self._slots[email_id] = self._free_slots.pop()
        self._write(slot, email_id.bytes)

    def remove_sending(self, email_id: UUID) -> None:
        """Store that an email is no longer being sent."""
        if (slot := self._slots.pop(email_id, None)) is not None:
            self._free_slots.append(slot)
            self._write(slot, FREE_SLOT)

    def _write(self, slot: int, content: bytes) -> None:
        # Shared memory, because a system call for each email would also make this thread wait for the GIL. The operating system
        # keeps the memory of a killed process in the file.
        self._memory[slot * UUID_BYTES : (slot + 1) * UUID_BYTES] = content

    def _add_slots(self) -> None:
        size = len(self._slots) * UUID_BYTES + mmap.PAGESIZE
        os.posix_fallocate(self._descriptor, 0, size)  # a write to memory without space on the disk would end the process
        self._memory = mmap.mmap(self._descriptor, size)
        self._free_slots = list(range(size // UUID_BYTES - 1, len(self._slots) - 1, -1))

    def keep_until_exit(self) -> None:
        """Keep the lock until this process exits, because threads that cannot be stopped still send emails."""
        self._is_kept = True

    def release(self) -> None:
        """Release the lock, unless it must be kept."""
        if not self._is_kept:
            os.close(self._descriptor)


@contextmanager
def hold_liveness_lock(folder: Path) -> Iterator[LivenessLock]:
    """Create and lock a file for a new worker."""
    folder.mkdir(exist_ok=True)
    name = uuid4().hex
    hidden = folder / f".{name}"
    lock = LivenessLock(name, os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    try:
        lock.acquire()
        hidden.rename(folder / name)  # after locking, so that the file is never visible without its lock
        yield lock
    finally:
        lock.release()


def dead_workers(folder: Path) -> list[str]:
    """Return the names of this machine's dead workers whose files still exist. Workers on other machines are unknown."""
    return [path.name for path in folder.iterdir() if _is_locked(path) is False]


def read_sending(name: str, folder: Path) -> set[UUID] | None:
    """Return the emails that a worker was sending when it wrote its file last, or None if this machine has no such file."""
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return None
    slots = (content[at : at + UUID_BYTES] for at in range(0, len(content) - UUID_BYTES + 1, UUID_BYTES))
    return {UUID(bytes=slot) for slot in slots if slot != FREE_SLOT}


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
