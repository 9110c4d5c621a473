"""Even distribution of connections over the server processes that share a listening socket.

The kernel notifies all processes of a new connection, and the first one accepts it. On an idle machine, this is nearly always the
same process. So each process writes its number of connections to shared memory, and a process with more connections than another
one waits for a moment before it accepts.
"""

import mmap
import os
import time
from tempfile import TemporaryFile

FIELDS = 2  # of each process: its connections, and when it wrote them, in milliseconds of the monotonic clock
FIELD_BYTES = 8
WRITE_INTERVAL_SECONDS = 0.25
STALE_AFTER_SECONDS = 1.0  # a process that wrote nothing for longer has ended or is busy, and does not accept soon
MAX_LEAD = 2  # a process with up to this many connections more than another one accepts at once


def create_shared_counts(processes: int) -> int:
    """Return the file descriptor of shared memory for this many processes. The supervisor calls it."""
    with TemporaryFile() as file:
        file.truncate(processes * FIELDS * FIELD_BYTES)
        return os.dup(file.fileno())


class SharedConnectionCounts:
    """The numbers of connections of all processes, as one of them sees them."""

    def __init__(self, location: str) -> None:
        """`location` is the file descriptor of the shared memory and the number of this process, such as 5:0."""
        fd, _, number = location.partition(":")
        self._fields = memoryview(mmap.mmap(int(fd), 0)).cast("Q")
        self._own = int(number) * FIELDS
        self._connections = 0
        self._has_withdrawn = False

    def write(self, connections: int | None = None) -> None:
        """Write the number of this process's connections, or confirm the last number."""
        if connections is not None:
            self._connections = connections
        if not self._has_withdrawn:
            self._fields[self._own] = self._connections
            self._fields[self._own + 1] = _now()

    def withdraw(self) -> None:
        """Show the other processes that this process accepts no more connections."""
        self._has_withdrawn = True
        self._fields[self._own + 1] = 0

    @property
    def is_ahead(self) -> bool:
        """Return whether another process that accepts has so few connections that it should accept the next one."""
        oldest = _now() - int(STALE_AFTER_SECONDS * 1000)
        return any(
            self._fields[at + 1] >= oldest and self._fields[at] + MAX_LEAD < self._connections
            for at in range(0, len(self._fields), FIELDS)
            if at != self._own
        )


def _now() -> int:
    return int(time.monotonic() * 1000)
