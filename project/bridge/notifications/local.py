"""Signals within a process: sending a signal calls its current subscribers. Signals are not stored for later subscribers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec

P = ParamSpec("P")


class LocalSignal(Generic[P]):
    """One kind of signal. Subscribers are called on the sender's thread, and must return quickly."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[P, object]] = []

    def send(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all subscribers."""
        for subscriber in self._subscribers.copy():
            subscriber(*args, **kwargs)

    @property
    def has_subscribers(self) -> bool:
        """Return whether there is at least one subscriber."""
        return bool(self._subscribers)

    def subscribe(self, subscriber: Callable[P, object]) -> None:
        """Call `subscriber` each time the signal is sent, until the process ends."""
        self._subscribers.append(subscriber)

    @contextmanager
    def subscribed(self, subscriber: Callable[P, object]) -> Iterator[None]:
        """Call `subscriber` each time the signal is sent, while this context is open."""
        self.subscribe(subscriber)
        try:
            yield
        finally:
            self._subscribers.remove(subscriber)


# Sent in the server's event loop when the drain begins. Streams and WebSockets subscribe to it, because they would not end by
# themselves. The drain waits for their end, and the lifespan ends after the drain.
server_stopping = LocalSignal[[]]()

connection_counts = LocalSignal[[int]]()  # the number of open connections, sent by the server whenever the number changes
