"""The engine: it delivers what is queued, in this process.

The database says what is to be done; the engine only acts on it. It is woken at once when a mail was accepted, and
looks by itself every few seconds for what no wake-up reached (a process that gives no hints, a crash between commit and wake-up).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from project.bridge.hints import hearing, passing_on
from project.outbox.delivery import Delivery
from project.outbox.events import QUEUE, queued
from project.outbox.instance import alive

LOOK_EVERY = 5.0  # seconds
GRACE = 25.0  # seconds, for a delivery that no lifespan bounds


class Engine:
    """Claims queued mail and hands it to the transport. One per application."""

    def __init__(self, folder: Path, *, look_every: float = LOOK_EVERY, delivers: bool = True) -> None:
        """`folder` is where the engines of this machine see each other. If it `delivers` not, another process does."""
        self.folder = folder
        self.delivers = delivers
        self._look_every = look_every
        self._grace = GRACE
        self._delivery: Delivery | None = None  # while it runs

    @property
    def healthy(self) -> bool:
        """Whether its loop runs, if it is to deliver at all."""
        return not self.delivers or (self._delivery is not None and self._delivery.is_looking)

    def wake(self) -> None:
        """Look now, if it runs."""
        if self._delivery is not None:
            self._delivery.wake()

    def hurry(self, seconds: float) -> None:
        """Have no more than this for what is in hand, when it ends."""
        self._grace = min(self._grace, seconds)

    async def deliver_soon(self) -> None:
        """For a background task: wake the loop or, where no lifespan runs one, deliver what is due now."""
        if self._delivery is not None:
            self.wake()
        elif self.delivers:
            await self._deliver_now()

    async def _deliver_now(self) -> None:
        with alive(self.folder) as name:
            delivery = Delivery(name, self.folder, look_every=self._look_every)
            try:
                await delivery.deliver_what_is_due()
            finally:
                await delivery.finish(GRACE)

    @asynccontextmanager
    async def running(self, *, grace: float) -> AsyncIterator[None]:
        """For the lifespan: deliver while this is open. At the end, what is in hand has `grace` seconds to be done."""
        if not self.delivers:
            async with passing_on(queued, topic=QUEUE):
                yield
            return
        self._grace = grace
        with alive(self.folder) as name:
            self._delivery = delivery = Delivery(name, self.folder, look_every=self._look_every)
            delivery.start()
            try:
                with hearing_here(delivery.wake):
                    async with hearing(QUEUE, delivery.wake):
                        yield
            finally:
                self._delivery = None
                await delivery.finish(self._grace)


@contextmanager
def hearing_here(wake: Callable[[], object]) -> Iterator[None]:
    """While this is open, call `wake` in this loop when a mail was queued in this process, on whatever thread."""
    loop = asyncio.get_running_loop()
    with queued.listening(lambda: loop.call_soon_threadsafe(wake)):
        yield
