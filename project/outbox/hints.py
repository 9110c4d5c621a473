"""That there may be new events: a hint to look, for whoever listens in this process. It may come on any thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[], None]] = []


def tell() -> None:
    """Something was committed."""
    for listener in _listeners.copy():
        listener()


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """While this is open, call `listener` for each hint."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
