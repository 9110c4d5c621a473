"""Passes messages between the processes of one supervisor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Receiver = Callable[[str], object]


class MessageRelay:
    """Passes each message to all receivers but its sender. A message is not stored for a process that is being restarted."""

    def __init__(self) -> None:
        self._receivers: list[Receiver] = []

    def publish(self, message: str, *, sender: Receiver | None = None) -> None:
        """Pass a message to all receivers but `sender`."""
        for receiver in self._receivers.copy():
            if receiver != sender:
                receiver(message)

    @contextmanager
    def connected(self, receiver: Receiver) -> Iterator[None]:
        """Pass messages to `receiver` while this context is open."""
        self._receivers.append(receiver)
        try:
            yield
        finally:
            self._receivers.remove(receiver)
