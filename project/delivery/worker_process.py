"""The delivery worker in a subprocess of the server, so that the API stays fast while emails are delivered.

`WorkerProcess` runs in the server. `run_as_subprocess` runs in the subprocess: the command `manage.py deliver --subprocess`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from project.bridge.background.shutdown_deadline import Grace
from project.bridge.processes.control_pipe import ControlPipe
from project.bridge.processes.message_relay import MessageRelay
from project.bridge.processes.supervised_process import SupervisedProcess, connect_to_supervisor
from project.config.variables.server import BASE_DIR
from project.delivery.worker import DeliveryWorker, wake_on_local_signal
from project.events.log import EVENTS_TOPIC, QUEUE_TOPIC, events_committed
from project.metrics.counters import EventCounts, add_counts, events_counted, merge_counts
from project.metrics.exposition import is_shared

COMMAND = [sys.executable, str(BASE_DIR / "manage.py"), "deliver", "--subprocess"]
# Without a server that publishes the events to other hosts, the worker publishes them.
SHARED_COMMAND = [*COMMAND, "--publish-events"]
PUBLISH_INTERVAL_SECONDS = 0.02  # events committed in this time share one message, because each message interrupts the server
ORPHAN_GRACE_SECONDS = 5.0  # for emails in flight after the server was killed; the next server's worker may wait for them


class WorkerProcess(DeliveryWorker):
    """Starts, wakes, watches and stops the worker's process.

    Each application has one instance, and its lifespan opens `running`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._process = SupervisedProcess(COMMAND, _receive_counts)

    @property
    def is_healthy(self) -> bool:
        """Return whether the process has recently reported that its loop runs."""
        return self._process.is_alive

    async def wake_or_deliver(self) -> None:
        """For background tasks: deliver now if no lifespan runs. Otherwise do nothing, because the process is already awake."""
        if not self._process.is_supervised:
            await super().wake_or_deliver()

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Keep the process running while this context is open. On exit, emails in flight have until the end of `grace`."""
        async with self._process.running(grace=grace):
            with wake_on_local_signal(self._process.send):
                yield


class SharedWorkerProcess(SupervisedProcess):
    """The worker's process beside several server processes. Runs in their supervisor."""

    def __init__(self, relay: MessageRelay) -> None:
        super().__init__(SHARED_COMMAND, self._publish_events)
        self._relay = relay

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Keep the process running while this context is open, and wake it when a server process has queued an email."""
        with self._relay.connected(self._wake):
            async with super().running(grace=grace):
                yield

    def _wake(self, message: str) -> None:
        if message == QUEUE_TOPIC:
            self.send()

    def _publish_events(self, _counts: str) -> None:
        self._relay.publish(EVENTS_TOPIC)  # the worker has already added its counts to the metrics that all processes share


async def run_as_subprocess(worker: DeliveryWorker, *, grace: float) -> None:
    """Deliver emails until the server stops this process or exits. The server publishes the events to other processes."""
    async with (
        connect_to_supervisor() as server,
        report_metrics(server),
        worker.running(grace=grace),
        server.heartbeats(lambda: worker.is_healthy),
    ):
        async for _ in server.lines():
            worker.wake()
        if not server.received_end:
            worker.shorten_grace(ORPHAN_GRACE_SECONDS)
        elif server.received_grace is not None:
            worker.shorten_grace(server.received_grace)


@asynccontextmanager
async def report_metrics(server: ControlPipe) -> AsyncIterator[None]:
    """Report counts of committed events to the server while this context is open."""
    loop, has_counts, unsent = asyncio.get_running_loop(), asyncio.Event(), list[EventCounts]()

    def collect(counts: EventCounts) -> None:
        unsent.append(counts)
        has_counts.set()

    def flush() -> None:
        if unsent:
            server.send(json.dumps(merge_counts(unsent)))
            unsent.clear()

    async def flush_loop() -> None:
        while True:
            await has_counts.wait()
            has_counts.clear()
            flush()
            await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)

    with events_counted.subscribed(lambda counts: loop.call_soon_threadsafe(collect, counts)):
        flushing = asyncio.create_task(flush_loop())
        try:
            yield
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
            flush()


def _receive_counts(line: str) -> None:
    if not is_shared():  # otherwise the subprocess has already added them
        add_counts(EventCounts(*json.loads(line)))
    events_committed.send()
