"""Limits how many WebSockets and event streams an owner may have open.

The server processes of one supervisor count together. If that fails, and without a supervisor, each process counts alone.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from project.errors import RetryLater
from project.limits.shared_counters import SharedCounters

logger = logging.getLogger(__name__)

_open_connections: Counter[str] = Counter()


class TooManyConnections(RetryLater):
    """The owner has reached its limit of open WebSockets and streams."""

    code = "too_many_connections"


@contextmanager
def connection_slot(owner: str) -> Iterator[None]:
    """Occupy one of the owner's slots while this context is open. Raises `TooManyConnections` if no slot is free."""
    limit: int = settings.MAX_STREAMS_PER_CALLER
    counters = _occupy_shared_slot(owner, limit) if limit else None
    if counters is None and limit and _open_connections[owner] >= limit:
        raise _too_many(limit)
    _open_connections[owner] += 1  # also counted here, for an outage of the shared counters
    try:
        yield
    finally:
        _open_connections[owner] -= 1
        if not _open_connections[owner]:
            del _open_connections[owner]  # otherwise the counter would keep an entry for every owner
        if counters is not None:
            _free(counters, owner)


def _occupy_shared_slot(owner: str, limit: int) -> SharedCounters | None:
    """Return the counters that now count the slot, or None if this process counts alone. Raises `TooManyConnections`."""
    try:
        counters = _shared_counters(settings.SHARED_COUNTERS)
        if counters is not None and not counters.occupy(owner, limit=limit):
            raise _too_many(limit)
    except sqlite3.Error as error:
        logger.warning("Counting a connection in this process alone: %s", error)
        return None
    return counters


def _free(counters: SharedCounters, owner: str) -> None:
    try:
        counters.free(owner)
    except sqlite3.Error as error:
        logger.warning("A connection that was closed still counts until this process ends: %s", error)


@lru_cache(maxsize=1)
def _shared_counters(path: Path | None) -> SharedCounters | None:
    return None if path is None else SharedCounters(path)


def _too_many(limit: int) -> TooManyConnections:
    return TooManyConnections(f"Too many open WebSockets and streams. The limit is {limit}.", retry_after=1)
