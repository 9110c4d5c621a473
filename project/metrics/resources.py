"""Metrics of the database and of connections. The bridge measures them and sends signals, so that it needs no metrics library."""

from prometheus_client import Gauge, Histogram

from project.bridge.background.thread_pool import thread_waits
from project.bridge.database.transactions import commits
from project.bridge.notifications.local import connection_counts

WAIT_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

thread_wait_seconds = Histogram(
    "mailrail_thread_wait_seconds",
    "Time that a call waits for a thread of a pool; each database thread has one database connection",
    ["pool"],
    buckets=WAIT_BUCKETS_SECONDS,
)
commit_seconds = Histogram(
    "mailrail_database_commit_seconds", "Time that the commit of a writing transaction takes", buckets=WAIT_BUCKETS_SECONDS
)
open_connections = Gauge("mailrail_open_connections", "Open TCP connections of clients", multiprocess_mode="livesum")


def observe_bridge() -> None:
    """Start to measure. Called once per process."""
    thread_waits.subscribe(lambda pool, seconds: thread_wait_seconds.labels(pool).observe(seconds))
    commits.subscribe(commit_seconds.observe)
    connection_counts.subscribe(open_connections.set)
