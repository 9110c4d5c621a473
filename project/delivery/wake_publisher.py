"""Publishes `mailrail.wake` on a thread of its own, so that no request waits for the broker. A burst shares one message.

A wake may be lost, because Celery beat publishes wakes too, and workers poll. So a wake is never worth waiting for. A failed
attempt opens a circuit breaker, and all wakes of the pause that follows share the next attempt.
"""

import logging
import threading
from typing import Any

from project.config.celery_settings import BULK_QUEUE

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.05  # wakes within this time share one message
TIMEOUT_SECONDS = 2.0  # to connect to the broker, and for each of its answers
MAX_WAITING_WAKES = 20  # messages in a queue; with so many, another one would wake no further worker
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0  # between two attempts while the broker is unavailable
STOP_TIMEOUT_SECONDS = 1.0
TRANSPORT_OPTIONS = {
    "socket_timeout": TIMEOUT_SECONDS,  # of Redis
    "socket_connect_timeout": TIMEOUT_SECONDS,
    "read_timeout": TIMEOUT_SECONDS,  # of AMQP
    "write_timeout": TIMEOUT_SECONDS,
}


class Broker:
    """A connection to the broker that fails instead of waiting or retrying."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._channel: Any = None

    def publish(self, queue: str) -> None:
        """Publish a wake, unless enough of them wait in the queue. Raises the transport's errors."""
        from project.celery import app  # imported here, because only DELIVERY_WORKER=celery needs Celery
        from project.config.celery_settings import WAKE_TASK

        channel = self._open(app)
        # Declares the queue each time: after a flush, Redis has forgotten it.
        if app.amqp.queues[queue].bind(channel).queue_declare().message_count < MAX_WAITING_WAKES:
            producer = app.amqp.Producer(channel, auto_declare=False)
            app.tasks[WAKE_TASK].apply_async(producer=producer, retry=False, queue=queue)

    def close(self) -> None:
        """Close the connection. The next `publish` opens another one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()  # without the goodbye of AMQP, which waits for an answer

    @property
    def is_open(self) -> bool:
        """Return whether a connection is open, as far as this process knows."""
        return self._connection is not None

    def _open(self, app: Any) -> Any:
        if self._connection is None:
            app.loader.import_default_modules()
            self._connection = app.connection_for_write(
                connect_timeout=TIMEOUT_SECONDS, transport_options=TRANSPORT_OPTIONS, heartbeat=0
            )
            self._connection.connect()
            self._channel = self._connection.channel()
        return self._channel


class WakePublisher:
    """Publishes wakes on its own thread between `start` and `stop`."""

    def __init__(self, *, interval: float = INTERVAL_SECONDS, broker: Broker | None = None) -> None:
        """Create a stopped publisher. Wakes within `interval` seconds share one message."""
        self._interval = interval
        self._broker = broker or Broker()
        self._pending: set[str] = set()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._failures = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="wakes", daemon=True)
        self._thread.start()

    def wake(self, queue: str = BULK_QUEUE) -> None:
        """Publish a wake soon. Returns at once, from any thread."""
        with self._changed:
            self._pending.add(queue)
            self._changed.notify()

    def stop(self) -> None:
        """Publish what is pending, if the broker answers quickly, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_stopping)
                queues, self._pending = self._pending, set()
                is_last = self._is_stopping
            for queue in queues:
                self._publish(queue)
            if is_last:
                break
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1), MAX_PAUSE_SECONDS)
            self._pause(pause if self._failures else self._interval)
        self._broker.close()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, seconds)

    def _publish(self, queue: str) -> None:
        was_open = self._broker.is_open
        for _ in range(2 if was_open else 1):  # the broker may have closed an idle connection
            try:
                self._broker.publish(queue)
            except Exception as error:  # noqa: BLE001  # each transport raises different errors, and a wake may be lost
                self._broker.close()
                problem = type(error).__name__  # without its text, which may contain the password of the URL
            else:
                if self._failures:
                    logger.warning("The Celery broker has recovered")
                self._failures = 0
                return
        if not self._failures:
            logger.error("The Celery broker is unavailable (%s); Celery workers poll until it recovers", problem)
        self._failures = min(self._failures + 1, 10)
        with self._changed:
            self._pending.add(queue)
