"""Limits how many WebSockets and event streams an owner may have open. Each process counts its own connections."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from project.errors import RetryLater

_open_connections: Counter[str] = Counter()


class TooManyConnections(RetryLater):
    """The owner has reached its limit of open WebSockets and streams."""

    code = "too_many_connections"


@contextmanager
def connection_slot(owner: str) -> Iterator[None]:
    """Occupy one of the owner's slots while this context is open. Raises `TooManyConnections` if no slot is free."""
    limit: int = settings.MAX_STREAMS_PER_CALLER
    if limit and _open_connections[owner] >= limit:
        raise TooManyConnections(f"Too many open WebSockets and streams. The limit is {limit}.", retry_after=1)
    _open_connections[owner] += 1
    try:
        yield
    finally:
        _open_connections[owner] -= 1
        if not _open_connections[owner]:
            del _open_connections[owner]  # otherwise the counter would keep an entry for every owner
