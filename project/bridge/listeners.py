"""Telling whoever listens in this process that something happened. Nothing is kept: who does not listen, misses it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Who wants to hear of one thing. A listener is called on the thread that tells, and must be quick."""

    def __init__(self) -> None:
        self._listeners: list[Callable[P, object]] = []

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """It happened."""
        for listener in self._listeners.copy():
            listener(*args, **kwargs)

    @property
    def anybody_listens(self) -> bool:
        """Whether it matters to anybody."""
        return bool(self._listeners)

    @contextmanager
    def listening(self, listener: Callable[P, object]) -> Iterator[None]:
        """While this is open, call `listener` each time."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


# That the server is about to stop, told in its loop when the drain begins: for answers that never end by themselves, such as
# streams and sockets. The drain waits for them, and the lifespan ends after it.
stopping = Listeners[[]]()
