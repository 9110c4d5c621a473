"""The commit order of events on PostgreSQL, which assigns ids before the commit: a smaller id may become visible later.

Each writer of events holds a shared advisory lock until its commit. The key of the lock contains the last id that was assigned
before. Shared locks do not conflict, so no writer waits for another one. From the keys of all locks, a reader computes the id up
to which all events are visible (the low watermark), and reads no further. docs/decisions/0020-event-order.md has the reasons.
"""

from typing import Any

from django.db import connection

LOCK_CLASS = 0x6D61696C  # first half of the key of the advisory locks; can be any number that no other program uses
MAX_PAUSE_BEFORE_COMMIT = "2s"  # a writer that stands still for longer loses its transaction, because readers wait for it

# The key contains the low 32 bits of the id, as a signed number. Their distance to the newest visible id is always far smaller.
_ANNOUNCE_WRITER = f"""
    SELECT pg_advisory_xact_lock_shared({LOCK_CLASS}, ((last_id & 4294967295) - 2147483648)::int),
           set_config('idle_in_transaction_session_timeout', '{MAX_PAUSE_BEFORE_COMMIT}', true)
      FROM (SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END AS last_id FROM events_event_id_seq) AS sequence
"""  # noqa: S608  # both values are constants
_DISTANCE_TO_OLDEST_WRITER = """
    SELECT min(((objid::bigint + 2147483648 - %s) & 4294967295 # 2147483648) - 2147483648)
      FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 2 AND classid = %s
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND pid <> pg_backend_pid()  -- a transaction sees its own events
"""


def writer_announcement() -> str:
    """Return the statement that lets readers wait for this transaction's events, or an empty string if none is needed.

    It runs right before the events are inserted, which is the last step of the transaction.
    """
    return _ANNOUNCE_WRITER if connection.vendor == "postgresql" else ""


def low_watermark(newest: int) -> int:
    """Return the id up to which all events are visible to the next statement. `newest` is the newest visible id.

    `newest` must have been read before, so that each writer of a smaller id either holds its lock now or has committed.
    """
    if connection.vendor != "postgresql":
        return newest
    (distance,) = _fetch(_DISTANCE_TO_OLDEST_WRITER, newest, LOCK_CLASS)
    return newest if distance is None else newest + min(0, int(distance))


def _fetch(statement: str, *parameters: int | str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()
