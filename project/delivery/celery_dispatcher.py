"""The server's side of DELIVERY_WORKER=celery: wakes Celery workers when an email is due, and delivers nothing itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from project.bridge.background.shutdown_deadline import Grace
from project.config.celery_settings import URGENT_QUEUE
from project.delivery.wake_publisher import WakePublisher
from project.delivery.worker import DeliveryWorker
from project.events.log import email_queued, urgent_email_queued


class CeleryDispatcher(DeliveryWorker):
    """Publishes wakes while the lifespan keeps `running` open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, is_enabled=False)
        self._publisher = WakePublisher()

    def _wake_urgent(self) -> None:
        self._publisher.wake(URGENT_QUEUE)

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Publish a wake whenever this process queues an email."""
        self._publisher.start()
        try:
            with email_queued.subscribed(self._publisher.wake), urgent_email_queued.subscribed(self._wake_urgent):
                yield
        finally:
            self._publisher.stop()
