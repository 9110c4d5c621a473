"""How many sockets and streams somebody may have open. Counted by each process for itself: they live and die with it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from project.accounts.limits import TryLater

_taken: Counter[str] = Counter()


class TooManySockets(TryLater):
    """Somebody has as many sockets and streams open as may be."""

    code = "too_many_sockets"


@contextmanager
def place(whose: str) -> Iterator[None]:
    """While this is open, hold one of somebody's places. Raises `TooManySockets` if none is free."""
    most: int = settings.SOCKETS_PER_CALLER
    if most and _taken[whose] >= most:
        raise TooManySockets(f"There may be {most} sockets and streams of one caller at a time.", retry_after=1)
    _taken[whose] += 1
    try:
        yield
    finally:
        _taken[whose] -= 1
        if not _taken[whose]:
            del _taken[whose]  # else everybody who ever came is remembered
