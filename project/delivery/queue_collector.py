"""Prometheus gauges of the queue, read from the database for each request for metrics."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from django.db import connections
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from project.bridge.database.read_transactions import call_in_read_transaction
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.delivery.queue_stats import PriorityQueue, QueueStats, read_queue_stats


class QueueCollector(Collector):
    """Gauges of the queue. `read` returns the counts, or None if the database is unavailable."""

    def __init__(self, read: Callable[[], QueueStats | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        stats = self._read()
        is_up = int(stats is not None)
        yield GaugeMetricFamily("mailrail_database_up", "1 if the database could be read for this response", value=is_up)
        if stats is not None:
            yield from _queue_gauges(stats, datetime.now(UTC))


def read_queue_stats_in_thread() -> QueueStats | None:
    """Return the counts, or None if the database is unavailable. For a thread that ends afterwards."""
    try:
        return call_in_read_transaction(read_queue_stats)
    except DATABASE_UNAVAILABLE_ERRORS:
        return None
    finally:
        connections.close_all()


def _queue_gauges(stats: QueueStats, now: datetime) -> Iterator[GaugeMetricFamily]:
    emails = GaugeMetricFamily("mailrail_emails", "Emails by status, except sent ones", labels=["status"])
    for status, count in stats.counts_by_status.items():
        emails.add_metric([status], count)
    yield emails
    yield GaugeMetricFamily(
        "mailrail_queue_age_seconds",
        "Time since when the email that has waited longest is due",
        value=_age(stats.oldest_due_at, now),
    )
    yield from _gauges_by_priority(stats.queues, now)
    yield GaugeMetricFamily(
        "mailrail_sending_age_seconds",
        "Time for which the email is being sent that is being sent for the longest time",
        value=_age(stats.oldest_sending_at, now),
    )
    yield GaugeMetricFamily(
        "mailrail_delivery_workers", "Delivery workers with a recent heartbeat, on all machines", value=stats.live_workers
    )
    paused = int(stats.is_relay_paused)
    yield GaugeMetricFamily("mailrail_relay_paused", "1 while the relay is unavailable and delivery is paused", value=paused)


def _gauges_by_priority(queues: Iterable[PriorityQueue], now: datetime) -> Iterator[GaugeMetricFamily]:
    counts = GaugeMetricFamily("mailrail_queued_emails", "Queued emails by priority", labels=["priority"])
    ages = GaugeMetricFamily(
        "mailrail_queued_age_seconds", "Time since when the first queued email of a priority is due", labels=["priority"]
    )
    for queue in queues:
        counts.add_metric([queue.priority], queue.count)
        ages.add_metric([queue.priority], _age(queue.oldest_due_at, now))
    yield counts
    yield ages


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
