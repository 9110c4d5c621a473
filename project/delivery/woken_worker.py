"""The delivery worker of a Celery worker's process: delivers while a task waits for it.

The loop runs on a thread of its own, so that heartbeats, renewals and emails in flight go on between two tasks. If no task
arrives for half a minute, the worker polls by itself: a broker that is away, or a consumer that hangs, only delays emails.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from project.bridge.database.transactions import close_threads
from project.bridge.notifications.cross_process import publish_on
from project.config.celery_settings import UNWOKEN_POLL_SECONDS
from project.delivery.event_loop import loop_factory
from project.delivery.lanes import ALL_PRIORITIES
from project.delivery.lease import DEFAULT_TIMING, LeaseTiming
from project.delivery.liveness import hold_liveness_lock
from project.delivery.loop import DeliveryLoop
from project.emails.priority import Priority
from project.events.database_notifications import database_notifications
from project.events.log import EVENTS_TOPIC, events_committed

logger = logging.getLogger(__name__)

MAX_DELIVERY_SECONDS = 30.0  # of one task; a task that ends with a backlog has published the next wake
RETRY_SECONDS = 5.0  # after a poll that failed, such as while the database is unavailable
MAX_WAIT_SECONDS = 3 * MAX_DELIVERY_SECONDS  # of a task for a delivery that runs already, and then its own
STOP_MARGIN_SECONDS = 10.0  # for a stopping worker to store results and release claims, after the grace period


class WokenWorker:
    """One delivery worker on its own thread. `deliver` may be called from any thread, also from several at once."""

    def __init__(
        self,
        folder: Path,
        *,
        on_backlog: Callable[[], object],
        priorities: Collection[Priority] = ALL_PRIORITIES,
        timing: LeaseTiming = DEFAULT_TIMING,
    ) -> None:
        """Create a stopped worker.

        `folder` contains the liveness locks of this machine's workers. `on_backlog` is called on the worker's thread, while more
        emails are due than this worker can claim. The worker claims only emails of these `priorities`.
        """
        self._folder = folder
        self._on_backlog = on_backlog
        self._priorities = priorities
        self._timing = timing
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._events: asyncio.AbstractEventLoop | None = None
        self._delivery: DeliveryLoop | None = None
        self._woken, self._stopping = asyncio.Event(), asyncio.Event()
        self._is_stopping = False
        self._requests: list[Future[int]] = []

    def start(self) -> None:
        """Start the thread, unless it runs already. Its first action is a poll."""
        with self._lock:
            if self._is_stopping or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run_thread, name="delivery", daemon=True)
            self._thread.start()

    def deliver(self) -> int:
        """Deliver what is due. Return the number of emails with a result.

        Takes at most about `MAX_DELIVERY_SECONDS`. Emails in flight go on after that. Returns 0 if the worker is stopping.
        """
        self.start()
        request: Future[int] = Future()
        with self._lock:
            if self._is_stopping:
                return 0
            self._requests.append(request)
            self._notify()
        return request.result(MAX_WAIT_SECONDS)

    def request_stop(self) -> None:
        """Claim no more emails. Emails in flight have `SHUTDOWN_GRACE` seconds. Safe in a signal handler."""
        self._is_stopping = True
        self._notify()

    def stop(self) -> None:
        """Stop, and wait for the emails in flight."""
        self.request_stop()
        if self._thread is not None:
            self._thread.join(settings.SHUTDOWN_GRACE + STOP_MARGIN_SECONDS)

    def _notify(self) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            if self._events is not None:
                self._events.call_soon_threadsafe(self._on_notification)

    def _on_notification(self) -> None:
        self._woken.set()
        if self._is_stopping:
            self._stopping.set()
        if self._delivery is not None:
            if self._is_stopping:
                self._delivery.stop_claiming()
            self._delivery.wake()

    def _run_thread(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._run())
        except Exception:
            logger.exception("The delivery worker has ended; the next wake starts it again")
        finally:
            self._events = self._delivery = None
            self._resolve(0)
            close_threads()

    async def _run(self) -> None:
        self._woken, self._stopping, self._events = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
        if self._is_stopping:
            return
        with hold_liveness_lock(self._folder) as lock:
            loop = DeliveryLoop(lock, self._folder, poll_interval=UNWOKEN_POLL_SECONDS, timing=self._timing)
            loop.limit_to(self._priorities)
            async with (
                database_notifications(),
                publish_on(events_committed, topic=EVENTS_TOPIC),
                loop.running(lambda: settings.SHUTDOWN_GRACE),
            ):
                self._delivery = loop
                self._on_notification()  # a stop, or a request, of before
                while not self._stopping.is_set():
                    succeeded = await self._deliver(loop)
                    await _wait(self._woken, UNWOKEN_POLL_SECONDS if succeeded else RETRY_SECONDS)
        self._resolve(0)

    async def _deliver(self, loop: DeliveryLoop) -> bool:
        """Deliver what is due, and answer the requests of before. Return whether it succeeded."""
        self._woken.clear()
        with self._lock:
            requests, self._requests = self._requests, []
        results = loop.results
        try:
            await loop.deliver_due(seconds=MAX_DELIVERY_SECONDS, on_backlog=self._on_backlog)
        except Exception:
            logger.exception("The delivery worker could not poll the queue; trying again in %g s", RETRY_SECONDS)
            return False
        finally:
            _resolve(requests, loop.results - results)
        return True

    def _resolve(self, count: int) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
        _resolve(requests, count)


def _resolve(requests: list["Future[int]"], count: int) -> None:
    for request in requests:
        if not request.done():
            request.set_result(count)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
