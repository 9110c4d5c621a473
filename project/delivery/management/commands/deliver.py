"""`python manage.py deliver [--drain]`: the delivery worker as a process of its own."""

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from project.bridge.database.transactions import close_threads
from project.bridge.notifications.cross_process import publish_on
from project.config.database_schema import check_database_at_startup
from project.delivery.event_loop import loop_factory
from project.delivery.lease import LEASE, LeaseTiming
from project.delivery.queue_collector import QueueCollector, read_queue_stats_in_thread
from project.delivery.worker import POLL_INTERVAL_SECONDS, DeliveryWorker
from project.delivery.worker_process import run_as_subprocess
from project.events.database_notifications import database_notifications
from project.events.log import EVENTS_TOPIC, QUEUE_TOPIC, events_committed
from project.metrics.server import serve_metrics
from project.transports.factory import CHECK_TAG

UNNOTIFIED_POLL_INTERVAL_SECONDS = 1.0  # without Redis and PostgreSQL, other processes cannot wake this process


class Command(BaseCommand):
    """Deliver emails until SIGTERM or Ctrl-C."""

    help = "Deliver queued emails in a process of its own. Set DELIVERY_WORKER=external for the servers beside it."
    requires_system_checks = (CHECK_TAG,)  # the commands `prepare` and `check` run all system checks

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options that define when to stop."""
        until = parser.add_mutually_exclusive_group()
        until.add_argument("--drain", action="store_true", help="deliver what is due now, then exit")
        parser.add_argument("--lease-seconds", type=float, default=LEASE.total_seconds(), help=argparse.SUPPRESS)  # for tests
        until.add_argument("--subprocess", action="store_true", help="internal: started by a server (DELIVERY_WORKER=subprocess)")
        parser.add_argument("--publish-events", action="store_true", help=argparse.SUPPRESS)  # for `serve --processes`

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker, on uvloop if it is installed."""
        if not options["subprocess"]:  # the server has already checked the database, and waits for this process to start
            check_database_at_startup(self.stderr.write, must_connect=options["drain"])
        serve_metrics(QueueCollector(read_queue_stats_in_thread))
        as_subprocess = _run_as_publishing_subprocess if options["publish_events"] else _run_as_subprocess
        deliver = _drain if options["drain"] else as_subprocess if options["subprocess"] else _deliver
        worker = DeliveryWorker(
            settings.ENV.ensure_data_dir() / "workers",
            poll_interval=POLL_INTERVAL_SECONDS if options["subprocess"] else UNNOTIFIED_POLL_INTERVAL_SECONDS,
            timing=LeaseTiming(timedelta(seconds=options["lease_seconds"])),
        )
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_with_notifications(deliver(worker)))


async def _with_notifications(delivery: Coroutine[Any, Any, None]) -> None:
    try:
        async with database_notifications(QUEUE_TOPIC):
            await delivery
    finally:
        close_threads()


async def _drain(worker: DeliveryWorker) -> None:
    async with publish_on(events_committed, topic=EVENTS_TOPIC):
        await worker.wake_or_deliver()


async def _deliver(worker: DeliveryWorker) -> None:
    async with publish_on(events_committed, topic=EVENTS_TOPIC):
        await _deliver_until_signal(worker)


async def _run_as_subprocess(worker: DeliveryWorker) -> None:
    await run_as_subprocess(worker, grace=settings.SHUTDOWN_GRACE)


async def _run_as_publishing_subprocess(worker: DeliveryWorker) -> None:
    async with publish_on(events_committed, topic=EVENTS_TOPIC):
        await _run_as_subprocess(worker)


async def _deliver_until_signal(worker: DeliveryWorker) -> None:
    stopping = asyncio.Event()
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the process runs under nohup
        numbers.remove(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with worker.running(grace=settings.SHUTDOWN_GRACE):
        await stopping.wait()
