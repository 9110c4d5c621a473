"""Log of database outages: one line when an outage begins, one a minute while it lasts, and one when it ends.

Otherwise each request and each polling task would log a traceback for as long as the outage lasts.
"""

import logging
import threading
import time

from django.db import InterfaceError, InternalError, OperationalError

logger = logging.getLogger(__name__)

# Raised while the database is unreachable or rejects writes. For example, PostgreSQL is read-only during a failover.
UNAVAILABLE_ERRORS = (InterfaceError, OperationalError, InternalError)
LOG_INTERVAL_SECONDS = 60.0
NEW_OUTAGE_AFTER_SECONDS = 10.0  # a failure later than this after the last one begins a new outage
RECOVERED_AFTER_SECONDS = 2.0  # some calls may still succeed during an outage, for example reads if the disk is full


class _Outage:
    """The current outage, seen by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_failure_at = self._logged_at = -float("inf")
        self._began_at: float | None = None

    @property
    def is_active(self) -> bool:
        """Return whether an outage has begun and not ended."""
        return self._began_at is not None

    def add_failure(self, now: float) -> bool:
        """Record a failure. Return whether it should be logged."""
        with self._lock:
            is_new = now > self._last_failure_at + NEW_OUTAGE_AFTER_SECONDS
            self._last_failure_at = now
            if self._began_at is None or is_new:
                self._began_at = now
            if not is_new and now < self._logged_at + LOG_INTERVAL_SECONDS:
                return False
            self._logged_at = now
            return True

    def add_success(self, now: float) -> float | None:
        """Record a call that succeeded. If it ends the outage, return the seconds that the outage took."""
        with self._lock:
            if self._began_at is None or now < self._last_failure_at + RECOVERED_AFTER_SECONDS:
                return None
            seconds, self._began_at = now - self._began_at, None
            return seconds


_outage = _Outage()


class DatabaseOutageFilter(logging.Filter):
    """Drops most records of database errors, and the traceback of the others. With the level DEBUG, all records pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, UNAVAILABLE_ERRORS) or logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        record.msg, record.args = "%s (the database failed: %s; logged once a minute)", (record.getMessage(), reason)
        record.exc_info = record.exc_text = None
        return _outage.add_failure(time.monotonic())


def record_success() -> None:
    """Log the end of an outage, if there was one. Called after each use of the database that succeeded."""
    if _outage.is_active and (seconds := _outage.add_success(time.monotonic())) is not None:
        logger.warning("The database is available again after %.0f s", seconds)
