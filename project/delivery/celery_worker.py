"""The lifecycle of a Celery worker: each process that runs tasks has one delivery worker, for as long as the process lives.

With the prefork pool, these are the pool's processes. With the pools `threads` and `solo`, it is the Celery worker's own process.
"""

import os
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from celery import bootsteps, signals
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.management.base import CommandError

from project.config.celery_settings import BULK_QUEUE, URGENT_QUEUE
from project.config.database_schema import UnusableDatabase, check_database_at_startup
from project.delivery.lanes import ALL_PRIORITIES
from project.delivery.queue_collector import QueueCollector, read_queue_stats_in_thread
from project.delivery.wake_publisher import WakePublisher
from project.delivery.woken_worker import WokenWorker
from project.emails.priority import Priority
from project.metrics.server import serve_metrics
from project.transports.factory import CHECK_TAG

GREENLET_POOLS = ("gevent", "eventlet")
FAN_OUT_INTERVAL_SECONDS = 1.0  # between the wakes that a worker with a backlog publishes


class _Process:
    """The parts of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: WokenWorker | None = None
        self._publisher: WakePublisher | None = None
        # A pool process sees the end of this pipe when the Celery worker begins to stop, because Celery sends it no signal.
        self._stop_pipe: tuple[int, int] | None = None
        self._is_pipe_open = False
        self._main_process = 0
        self.is_urgent_only = False  # the Celery worker consumes only the queue `urgent`

    def open_stop_pipe(self) -> None:
        """Create the pipe. Call this before the pool's processes are forked."""
        self._stop_pipe, self._is_pipe_open, self._main_process = os.pipe(), True, os.getpid()

    def close_stop_pipe(self) -> None:
        """Let the readers of the pipe see its end. Safe in a signal handler, and when it is repeated."""
        if self._stop_pipe is not None and self._is_pipe_open:
            self._is_pipe_open = False
            os.close(self._stop_pipe[1])

    def close_inherited_pipe(self) -> None:
        """Close the copy that a forked process has of the end for writing. Does nothing in the Celery worker's own process."""
        if os.getpid() != self._main_process:
            self.close_stop_pipe()

    def worker(self) -> WokenWorker:
        """Return the running delivery worker of this process."""
        with self._lock:
            if self._worker is None:
                self._publisher = WakePublisher(interval=FAN_OUT_INTERVAL_SECONDS)
                self._publisher.start()
                queue, priorities = (URGENT_QUEUE, {Priority.HIGH}) if self.is_urgent_only else (BULK_QUEUE, ALL_PRIORITIES)
                folder, on_backlog = settings.ENV.ensure_data_dir() / "workers", partial(self._publisher.wake, queue)
                self._worker = WokenWorker(folder, on_backlog=on_backlog, priorities=priorities)
                threading.Thread(target=self._stop_at_end_of_pipe, args=[self._worker], name="stop", daemon=True).start()
            worker = self._worker
        worker.start()
        return worker

    def stop(self) -> None:
        """Stop the delivery worker, if there is one, and wait for its emails in flight."""
        if self._worker is not None:
            self._worker.stop()
        if self._publisher is not None:
            self._publisher.stop()

    def _stop_at_end_of_pipe(self, worker: WokenWorker) -> None:
        if self._stop_pipe is not None:
            os.read(self._stop_pipe[0], 1)
            worker.request_stop()


_process = _Process()


class _StopDelivery(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Begins the stop as soon as the Celery worker stops, also if Flower or `celery control shutdown` asked for it."""

    def close(self, _worker: Any) -> None:
        """End the running tasks early."""
        _process.close_stop_pipe()


def deliver_due() -> int:
    """Deliver what is due, for a limited time, in this process. Return the number of emails with a result."""
    return _process.worker().deliver()


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def prepare(sender: Any, **_kwargs: Any) -> None:
    """Refuse to start with settings or a database that cannot be used, and prepare the stop of the pool's processes."""
    _refuse_unusable_settings()
    if sender.pool_cls.__module__.rpartition(".")[2] in GREENLET_POOLS:
        raise SystemExit("Mailrail does not work with the pools gevent and eventlet: use prefork, threads or solo.")
    try:
        check_database_at_startup(_print)
    except UnusableDatabase as error:
        raise SystemExit(str(error)) from None
    _process.is_urgent_only = set(sender.app.amqp.queues.consume_from) == {URGENT_QUEUE}
    sender.app.steps["worker"].add(_StopDelivery)
    _process.open_stop_pipe()


@signals.beat_init.connect  # type: ignore[untyped-decorator]
def prepare_beat(**_kwargs: Any) -> None:
    """Refuse to start without a broker."""
    _refuse_unusable_settings()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def start_in_pool_process(**_kwargs: Any) -> None:
    """Start the delivery worker of a process of the prefork pool. The pool `solo` also sends this signal."""
    _process.close_inherited_pipe()
    _process.worker()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def start_in_worker_process(sender: Any, **_kwargs: Any) -> None:
    """Serve the metrics of the worker and its pool, and start the delivery worker if the pool has no processes."""
    try:
        serve_metrics(QueueCollector(read_queue_stats_in_thread))
    except CommandError as error:  # the port is in use
        raise SystemExit(str(error)) from None
    if not type(sender.pool).__module__.endswith(".prefork"):
        _process.worker()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def begin_stop(**_kwargs: Any) -> None:
    """End the running tasks early, after a signal. The pool `solo` handles events only after its task."""
    _process.close_stop_pipe()


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**_kwargs: Any) -> None:
    """Wait for the emails in flight before the process exits."""
    _process.stop()


def _refuse_unusable_settings() -> None:
    if settings.DELIVERY_WORKER != "celery":
        raise SystemExit("Celery delivers only with DELIVERY_WORKER=celery. Set it for all processes of Mailrail.")
    problems = [f"{problem.msg} {problem.hint}" for problem in run_checks(tags=[CHECK_TAG]) if problem.level >= ERROR]
    if problems:
        raise SystemExit("\n".join(problems))


def _print(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
