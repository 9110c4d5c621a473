"""The engine: it delivers what is queued, in this process.

The database says what is to be done; the engine only acts on it. It is woken at once when a mail was accepted, and
looks by itself every few seconds for what no wake-up reached (a process that gives no hints, a crash between commit and wake-up).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from project.bridge.notifications.cross_process import publish_on, subscribe
from project.delivery.liveness import hold_liveness_lock
from project.delivery.loop import DeliveryLoop
from project.events.log import QUEUE_TOPIC, email_queued

POLL_INTERVAL_SECONDS = 5.0  # seconds
DEFAULT_GRACE_SECONDS = 25.0  # seconds, for a delivery that no lifespan bounds


class DeliveryWorker:
    """Claims queued mail and hands it to the transport. One per application."""

    def __init__(self, folder: Path, *, poll_interval: float = POLL_INTERVAL_SECONDS, is_enabled: bool = True) -> None:
        """`folder` is where the engines of this machine see each other. If it `delivers` not, another process does."""
        self.folder = folder
        self.is_enabled = is_enabled
        self._look_every = poll_interval
        self._grace = DEFAULT_GRACE_SECONDS
        self._delivery: DeliveryLoop | None = None  # while it runs

    @property
    def is_healthy(self) -> bool:
        """Whether its loop runs, if it is to deliver at all."""
        return not self.is_enabled or (self._delivery is not None and self._delivery.is_looking)

    def wake(self) -> None:
        """Look now, if it runs."""
        if self._delivery is not None:
            self._delivery.wake()

    def shorten_grace(self, seconds: float) -> None:
        """Have no more than this for what is in hand, when it ends."""
        self._grace = min(self._grace, seconds)

    async def wake_or_deliver(self) -> None:
        """For a background task: wake the loop or, where no lifespan runs one, deliver what is due now."""
        if self._delivery is not None:
            self.wake()
        elif self.is_enabled:
            await self._deliver_now()

    async def _deliver_now(self) -> None:
        with hold_liveness_lock(self.folder) as name:
            delivery = DeliveryLoop(name, self.folder, poll_interval=self._look_every)
            try:
                await delivery.deliver_what_is_due()
            finally:
                await delivery.finish(DEFAULT_GRACE_SECONDS)

    @asynccontextmanager
    async def running(self, *, grace: float) -> AsyncIterator[None]:
        """For the lifespan: deliver while this is open. At the end, what is in hand has `grace` seconds to be done."""
        if not self.is_enabled:
            async with publish_on(email_queued, topic=QUEUE_TOPIC):
                yield
            return
        self._grace = grace
        with hold_liveness_lock(self.folder) as name:
            self._delivery = delivery = DeliveryLoop(name, self.folder, poll_interval=self._look_every)
            delivery.start()
            try:
                with wake_on_local_signal(delivery.wake):
                    async with subscribe(QUEUE_TOPIC, delivery.wake):
                        yield
            finally:
                self._delivery = None
                await delivery.finish(self._grace)


@contextmanager
def wake_on_local_signal(wake: Callable[[], object]) -> Iterator[None]:
    """While this is open, call `wake` in this loop when a mail was queued in this process, on whatever thread."""
    loop = asyncio.get_running_loop()
    with email_queued.subscribed(lambda: loop.call_soon_threadsafe(wake)):
        yield
