"""The delivery worker: delivers queued emails while the application runs. Other code wakes it with `wake` or `wake_or_deliver`.

The database is the source of truth. The worker is woken as soon as an email is queued. It also polls every few seconds, because
some emails have no wake-up: a process without notifications queued them, or a process crashed between commit and wake-up.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from project.bridge.background.shutdown_deadline import Grace, seconds_left
from project.bridge.notifications.cross_process import publish_on, subscribe
from project.delivery.lease import DEFAULT_TIMING, LeaseTiming
from project.delivery.liveness import hold_liveness_lock
from project.delivery.loop import DeliveryLoop
from project.events.log import QUEUE_TOPIC, email_queued

POLL_INTERVAL_SECONDS = 5.0
DEFAULT_GRACE_SECONDS = 25.0  # for emails in flight when a delivery outside of a lifespan ends


class DeliveryWorker:
    """Claims queued emails and sends them through the transport. Each application has one worker."""

    def __init__(
        self,
        folder: Path,
        *,
        poll_interval: float = POLL_INTERVAL_SECONDS,
        is_enabled: bool = True,
        timing: LeaseTiming = DEFAULT_TIMING,
    ) -> None:
        """Create a stopped worker. If not `is_enabled`, another process delivers the emails.

        `folder` contains the liveness locks of this machine's workers.
        """
        self.folder = folder
        self.is_enabled = is_enabled
        self._poll_interval = poll_interval
        self._timing = timing
        self._grace: Grace = DEFAULT_GRACE_SECONDS
        self._max_grace = math.inf
        self._loop: DeliveryLoop | None = None  # only while `running` is open

    @property
    def is_healthy(self) -> bool:
        """Return whether the delivery loop runs. A disabled worker is always healthy."""
        return not self.is_enabled or (self._loop is not None and self._loop.is_running)

    def wake(self) -> None:
        """Poll the queue now, if the loop runs."""
        if self._loop is not None:
            self._loop.wake()

    def shorten_grace(self, seconds: float) -> None:
        """Reduce the grace period for emails in flight to at most `seconds`."""
        self._max_grace = min(self._max_grace, seconds)

    async def wake_or_deliver(self) -> None:
        """For background tasks: wake the loop, or deliver the due emails now if no lifespan runs the loop."""
        if self._loop is not None:
            self.wake()
        elif self.is_enabled:
            await self._deliver_once()

    async def _deliver_once(self) -> None:
        with hold_liveness_lock(self.folder) as lock:
            loop = DeliveryLoop(lock, self.folder, poll_interval=self._poll_interval, timing=self._timing)
            async with loop.running(lambda: DEFAULT_GRACE_SECONDS):
                await loop.deliver_due()

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Deliver emails while the lifespan keeps this context open. On exit, emails in flight have until the end of `grace`."""
        if not self.is_enabled:
            async with publish_on(email_queued, topic=QUEUE_TOPIC):
                yield
            return
        self._grace, self._max_grace = grace, math.inf
        with hold_liveness_lock(self.folder) as lock:
            loop = DeliveryLoop(lock, self.folder, poll_interval=self._poll_interval, timing=self._timing)
            async with loop.running(lambda: min(seconds_left(self._grace), self._max_grace)):
                loop.start()
                self._loop = loop
                try:
                    with wake_on_local_signal(loop.wake):
                        async with subscribe(QUEUE_TOPIC, loop.wake):
                            yield
                finally:
                    self._loop = None


@contextmanager
def wake_on_local_signal(wake: Callable[[], object]) -> Iterator[None]:
    """While this context is open, call `wake` in this event loop whenever any thread of this process queues an email."""
    loop = asyncio.get_running_loop()
    with email_queued.subscribed(lambda: loop.call_soon_threadsafe(wake)):
        yield
