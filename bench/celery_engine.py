"""Delivery by Celery workers, compared with one Celery task for each email that calls Django's `send_mail`.

Both sides have two worker processes (prefork), Redis as the broker, and the same emails for smtp-sink. Mailrail has its queue on
PostgreSQL, and records each result. The tasks record nothing.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from celery import Celery
from redis import Redis

from bench.comparison import Comparison, Round
from bench.one_task_per_email import QUEUE, app, send
from bench.postgresql_installation import PostgreSQLInstallation, on_postgresql
from bench.relays import fast_relay
from bench.rounds import measure_round
from bench.sample_email import EMAIL
from tests.processes import WAIT_TIMEOUT_SECONDS, Server, wait_for
from tests.redis_server import RedisServer, redis_server

PROCESSES = 2
BACKLOG = 5000  # emails per second of measurement, more than Mailrail delivers
SETTLE_SECONDS = 1  # between the release of the queue and the measurement
HOLD, RELEASE = "UPDATE emails_email SET status = 'canceled'", "UPDATE emails_email SET status = 'queued'"
STAGED = "staged"  # a list in Redis that no worker consumes
WORKER = ["-m", "celery", "-A", "{}", "worker", "--concurrency", str(PROCESSES), "--loglevel", "WARNING"]

MAILRAIL = "Mailrail: Celery engine, two processes (emails/s)"
TASKS = "Celery: a task with send_mail for each email (emails/s)"
COMPARISONS = [Comparison("celery: Mailrail / a task for each email", MAILRAIL, TASKS, at_least=5.0)]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure both sides in turn. All processes run before the queue is released, and the queue outlasts the measurement."""
    results = []
    with fast_relay(folder) as relay, redis_server() as redis, on_postgresql(folder) as queue:
        queue.queue(BACKLOG * (seconds + SETTLE_SECONDS))
        queue.query(HOLD)
        for number in range(rounds):
            copy = queue.copy(folder / f"celery-{number}")
            figures = {
                MAILRAIL: partial(_engine_rate, copy, redis, relay, seconds),
                TASKS: partial(_task_rate, folder, redis, relay, seconds),
            }
            results.append(measure_round(figures, number))
            redis.flush()
    return results


def _engine_rate(queue: PostgreSQLInstallation, redis: RedisServer, relay: int, seconds: int) -> float:
    engine = {"DELIVERY_WORKER": "celery", "CELERY_BROKER_URL": redis.url, "EMAIL_URL": f"smtp://127.0.0.1:{relay}"}
    with (
        Celery(broker=redis.url, set_as_current=False) as client,
        _worker("project", queue.data / "log.worker", client, {**queue.env(), **engine}),
    ):
        queue.query(RELEASE)
        for _ in range(PROCESSES):
            client.send_task("mailrail.wake", queue="bulk", ignore_result=True)
        return _rate(queue.sent, queue.left, seconds)


def _task_rate(folder: Path, redis: RedisServer, relay: int, seconds: int) -> float:
    count = BACKLOG // 5 * (seconds + SETTLE_SECONDS)  # more than the tasks send
    with Redis.from_url(redis.url) as broker:
        app.conf.broker_url = redis.url
        for _ in range(count):
            send.apply_async((dict(EMAIL),))
        broker.rename(QUEUE, STAGED)
        env = {"BROKER_URL": redis.url, "RELAY_PORT": str(relay)}
        with _worker("bench.one_task_per_email", folder / "log.tasks", app, env):
            broker.rename(STAGED, QUEUE)

            def left() -> int:
                return int(broker.llen(QUEUE)) + int(broker.hlen("unacked"))

            rate = _rate(lambda: count - left(), left, seconds)
        broker.delete(QUEUE, "unacked", "unacked_index")
    return rate


def _rate(sent: Callable[[], int], left: Callable[[], int], seconds: int) -> float:
    """Return emails/s of a time in which the queue is not empty."""
    time.sleep(SETTLE_SECONDS)
    started, before = time.perf_counter(), sent()
    time.sleep(seconds)
    rate = (sent() - before) / (time.perf_counter() - started)
    if not left():
        raise SystemExit("The queue was empty before the measurement ended, which is therefore invalid.")
    return rate


@contextmanager
def _worker(application: str, log: Path, client: Celery, env: dict[str, str]) -> Iterator[None]:
    command = [part.format(application) for part in WORKER]
    worker = Server(command, log=log, env=env)
    try:
        wait_for(lambda: bool(client.control.ping(timeout=1)), "the worker consumes", lambda: worker.log)
        yield
    finally:
        os.killpg(worker.process.pid, signal.SIGKILL)  # the pool's processes too
        worker.process.wait(WAIT_TIMEOUT_SECONDS)
