"""Storage of the library `limits` for the server processes of one supervisor."""

import sqlite3
from pathlib import Path
from time import time

from limits.aio.storage import Storage

from project.limits.shared_counters import SharedCounters


class SharedStorage(Storage):
    """Counts requests in fixed windows, together with the other processes. A statement takes some 10 µs, so no method waits."""

    def __init__(self, path: Path) -> None:
        super().__init__(wrap_exceptions=True)
        self._counters = SharedCounters(path)

    @property
    def base_exceptions(self) -> type[Exception]:
        """The exceptions of this storage."""
        return sqlite3.Error

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count requests of a key, in a window of `expiry` seconds. Return the count."""
        return self._counters.hit(key, expiry, amount)

    async def get(self, key: str) -> int:
        """Return the count of a key."""
        return self._counters.find(key)[0]

    async def get_expiry(self, key: str) -> float:
        """Return when the key's window ends, in seconds since 1970."""
        return time() + self._counters.find(key)[1]

    async def check(self) -> bool:
        """Return True if the counters can be read."""
        self._counters.find("")
        return True

    async def reset(self) -> int | None:
        """Forget all counts, and return their number."""
        return self._counters.clear()

    async def clear(self, key: str) -> None:
        """Forget the count of a key."""
        self._counters.clear(key)
