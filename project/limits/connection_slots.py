"""How many sockets and streams somebody may have open. Counted by each process for itself: they live and die with it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from project.errors import RetryLater

_open_connections: Counter[str] = Counter()


class TooManyConnections(RetryLater):
    """Somebody has as many sockets and streams open as may be."""

    code = "too_many_sockets"


@contextmanager
def connection_slot(whose: str) -> Iterator[None]:
    """While this is open, hold one of somebody's places. Raises `TooManySockets` if none is free."""
    most: int = settings.MAX_STREAMS_PER_CALLER
    if most and _open_connections[whose] >= most:
        raise TooManyConnections(f"There may be {most} sockets and streams of one caller at a time.", retry_after=1)
    _open_connections[whose] += 1
    try:
        yield
    finally:
        _open_connections[whose] -= 1
        if not _open_connections[whose]:
            del _open_connections[whose]  # else everybody who ever came is remembered
