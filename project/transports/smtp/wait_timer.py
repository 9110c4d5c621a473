"""Timeout for the waits of one connection."""

import asyncio
import math
from collections.abc import Callable


class WaitTimer:
    """Calls `on_timeout` if a wait takes too long. It uses one timer of the event loop for many short waits.

    Nearly all waits end long before their timeout. Creating and canceling a timer for each of them would take longer than parsing
    the reply that it waits for.
    """

    def __init__(self, on_timeout: Callable[[], None]) -> None:
        self._on_timeout = on_timeout
        self._deadline = math.inf  # of the current wait, on the event loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Begin a wait that may take so many seconds. The previous wait must have ended."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self.close()
            self._timer = loop.call_at(self._deadline, self._check)

    def stop(self) -> None:
        """End the wait."""
        self._deadline = math.inf

    def close(self) -> None:
        """Cancel the timer of the event loop, because no more waits follow."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        if self._deadline <= loop.time():
            self._on_timeout()
        elif self._deadline < math.inf:  # of a later wait than the one that started the timer
            self._timer = loop.call_at(self._deadline, self._check)
