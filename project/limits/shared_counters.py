"""Counters that the server processes of one supervisor share: a SQLite database in the memory file system.

Each operation is one atomic statement, so the counts are exact. SQLite releases the locks of a process that is killed. A process
that stands still in the middle of a statement delays the others by `BUSY_TIMEOUT_SECONDS`. Then they count alone for a while.
docs/decisions/0032-server-processes.md has the reasons.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from weakref import finalize

MEMORY_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108  # the directory inside it is readable by its owner only
BUSY_TIMEOUT_SECONDS = 0.05
MAX_PAGES = 16_384  # of 4 KiB; if the database is full, each process counts alone
HITS_PER_PRUNING, PRUNED_ROWS = 16, 64  # more rows are deleted than can be added in the meantime

_SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE hits (key TEXT, expiry REAL, count INTEGER, ends_at REAL, PRIMARY KEY (key, expiry)) WITHOUT ROWID;
    CREATE INDEX hits_ends_at ON hits (ends_at);
    CREATE TABLE slots (owner TEXT, process INTEGER, count INTEGER, PRIMARY KEY (owner, process)) WITHOUT ROWID;
"""
_HIT = """
    INSERT INTO hits VALUES (:key, :expiry, :amount, :now + :expiry) ON CONFLICT DO UPDATE SET
        count = CASE WHEN ends_at > :now THEN count ELSE 0 END + :amount,
        ends_at = CASE WHEN ends_at > :now THEN ends_at ELSE :now + :expiry END
    RETURNING count
"""
_PRUNE = "DELETE FROM hits WHERE (key, expiry) IN (SELECT key, expiry FROM hits WHERE ends_at <= ? ORDER BY ends_at LIMIT ?)"
_OCCUPY = """
    INSERT INTO slots SELECT :owner, :process, 1
        WHERE (SELECT coalesce(sum(count), 0) FROM slots WHERE owner = :owner) < :limit
    ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count
"""
_FREE = "UPDATE slots SET count = count - 1 WHERE owner = ? AND process = ?"
_FORGET_FREE = "DELETE FROM slots WHERE owner = ? AND process = ? AND count <= 0"


@contextmanager
def counters_file() -> Iterator[Path]:
    """Create a database for counters, and delete it at the end of this context. The supervisor uses it."""
    folder = MEMORY_FILE_SYSTEM if os.access(MEMORY_FILE_SYSTEM, os.W_OK) else None  # not on macOS
    with TemporaryDirectory(prefix="mailrail-", dir=folder) as name:
        path = Path(name) / "counters.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_SCHEMA)
        yield path


class SharedCounters:
    """One process's connection to the counters. All methods raise `sqlite3.Error` if the counters cannot be used."""

    def __init__(self, path: Path) -> None:
        self._process = os.getpid()
        self._hits = 0
        self._connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # SQLite itself serializes the calls of several threads
        )
        finalize(self, self._connection.close)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(f"PRAGMA max_page_count = {MAX_PAGES}")
        self._connection.execute("DELETE FROM slots WHERE process = ?", (self._process,))  # of an earlier process with this id

    def hit(self, key: str, expiry: float, amount: int) -> int:
        """Count in a window of `expiry` seconds, and return the count."""
        self._hits += 1
        now = monotonic()  # all processes of a machine have the same monotonic clock
        if self._hits % HITS_PER_PRUNING == 0:
            self._connection.execute(_PRUNE, (now, PRUNED_ROWS))
        parameters = {"key": key, "expiry": expiry, "amount": amount, "now": now}
        count: int = self._connection.execute(_HIT, parameters).fetchall()[0][0]
        return count

    def find(self, key: str) -> tuple[int, float]:
        """Return the count of a key, and the seconds until its window ends."""
        now = monotonic()
        found = self._connection.execute("SELECT count, ends_at FROM hits WHERE key = ? AND ends_at > ?", (key, now)).fetchone()
        return (found[0], found[1] - now) if found else (0, 0.0)

    def clear(self, key: str | None = None) -> int:
        """Forget the count of a key, or all counts. Return the number of forgotten counts."""
        return self._connection.execute("DELETE FROM hits WHERE ? IS NULL OR key = ?", (key, key)).rowcount

    def occupy(self, owner: str, *, limit: int) -> bool:
        """Occupy one of the owner's slots. Return False if all are occupied by processes that still run."""
        parameters = {"owner": owner, "process": self._process, "limit": limit}
        if self._connection.execute(_OCCUPY, parameters).fetchall():
            return True
        if not self._free_slots_of_dead_processes(owner):
            return False
        return bool(self._connection.execute(_OCCUPY, parameters).fetchall())

    def free(self, owner: str) -> None:
        """Free a slot that `occupy` has occupied."""
        self._connection.execute(_FREE, (owner, self._process))
        self._connection.execute(_FORGET_FREE, (owner, self._process))

    def _free_slots_of_dead_processes(self, owner: str) -> bool:
        processes = [row[0] for row in self._connection.execute("SELECT process FROM slots WHERE owner = ?", (owner,))]
        dead = [process for process in processes if not _is_running(process)]
        for process in dead:
            self._connection.execute("DELETE FROM slots WHERE process = ?", (process,))
        return bool(dead)


def _is_running(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False
