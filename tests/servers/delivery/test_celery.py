"""Celery as the engine of delivery, with real processes and Redis as the broker. One server serves all tests of this module."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from project.config.celery_settings import QUEUES
from project.config.email_url import DEFAULT_CONNECTIONS
from tests.celery_processes import CeleryInstallation, celery_installation, pool_processes
from tests.databases import copy_installation
from tests.processes import Server, free_port, wait_for
from tests.redis_server import PROGRAM, RedisServer, redis_server
from tests.smtp import Sink, smtp_sink

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Redis (Debian: redis-server)")

SENT = 'mailrail_events_total{type="email.sent"} 3.0\n'
NO_WORKER = "no delivery worker is running"
MAX_POST_SECONDS = 2.0
MAX_IN_FLIGHT = DEFAULT_CONNECTIONS * 2  # of two processes


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Start a Redis server. Tests flush it, stop it and start it again."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def relay() -> Iterator[Sink]:
    """Start an SMTP server."""
    with smtp_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def installed(
    installation: Path, tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, relay: Sink
) -> Iterator[CeleryInstallation]:
    """Run a server whose emails Celery workers deliver."""
    folder = tmp_path_factory.mktemp("celery")
    data = copy_installation(installation, folder / "data")
    with celery_installation(data, folder, broker_url=f"{redis.url}/1", relay_url=relay.url) as running:
        yield running


@pytest.fixture
def sink(relay: Sink) -> Iterator[Sink]:
    """Return the SMTP server without the emails of earlier tests."""
    relay.emails.clear()
    relay.message_ids.clear()
    yield relay
    relay.delay = 0.0
    relay.release()


@pytest.fixture
def celery(installed: CeleryInstallation, redis: RedisServer) -> Iterator[CeleryInstallation]:
    """Return the installation with an empty broker, and kill the test's processes at the end."""
    yield installed
    installed.kill_started()
    redis.flush()


def wait_until_sent(celery: CeleryInstallation, worker: Server) -> None:
    """Wait until all emails are sent."""
    wait_for(lambda: not celery.unsent(), "all emails are sent", lambda: worker.log)


def wait_until_in_flight(sink: Sink, worker: Server) -> None:
    """Wait until the relay receives emails."""
    wait_for(lambda: sink.in_flight > 0, "emails are in flight", lambda: worker.log)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_wake_delivers_and_sigterm_waits_for_emails_in_flight(celery: CeleryInstallation, sink: Sink, pool: str) -> None:
    port = free_port()
    worker = celery.worker(f"--pool={pool}", "--concurrency=2", METRICS_PORT=str(port))
    celery.send(3)
    wait_for(lambda: SENT in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text, "they count", lambda: worker.log)
    wait_for(lambda: celery.delivery_check == "ok", "the worker is alive", lambda: worker.log)
    sink.hold()
    celery.send(3)
    wait_for(lambda: sink.in_flight == 3, "the emails are in flight", lambda: worker.log)
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_log("Warm shutdown")
    sink.release()

    assert (worker.wait(), len(sink.emails)) == (0, 6)
    assert celery.delivery_check == NO_WORKER


def test_sigterm_to_all_processes_waits_for_emails_in_flight(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=2")
    sink.hold()
    celery.send(3)
    wait_for(lambda: sink.in_flight == 3, "the emails are in flight", lambda: worker.log)
    os.killpg(worker.process.pid, signal.SIGTERM)  # as systemd does
    worker.wait_for_log("Warm shutdown")
    sink.release()
    worker.wait()

    assert len(sink.emails) == 3
    assert celery.delivery_check == NO_WORKER


def test_a_remote_shutdown_ends_a_running_wake(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=1")
    sink.delay = 0.5
    celery.send(200)
    wait_until_in_flight(sink, worker)
    celery.control("shutdown")

    assert worker.wait() == 0
    assert 0 < len(sink.emails) < 200
    assert sink.duplicates == 0


# Killed processes


@pytest.mark.pitfall(26, 27)
def test_a_killed_celery_worker_loses_no_email(celery: CeleryInstallation, sink: Sink) -> None:
    killed = celery.worker("--concurrency=2")
    sink.hold()
    celery.send(100)
    wait_until_in_flight(sink, killed)
    killed.kill()  # its pool dies with it
    sink.release()
    worker = celery.worker("--concurrency=2", POLL_SECONDS="2")
    wait_until_sent(celery, worker)

    assert sink.duplicates <= MAX_IN_FLIGHT


@pytest.mark.pitfall(26)
def test_a_killed_pool_process_is_replaced_and_loses_no_email(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=1", POLL_SECONDS="3")
    sink.hold()
    celery.send(3)
    wait_until_in_flight(sink, worker)
    for process in pool_processes(worker):
        os.kill(process, signal.SIGKILL)
    sink.release()
    wait_until_sent(celery, worker)

    assert len(set(sink.message_ids)) == 3
    assert celery.delivery_check == "ok"


# The broker


@pytest.mark.pitfall(34)
def test_a_flushed_broker_changes_nothing(celery: CeleryInstallation, redis: RedisServer, sink: Sink) -> None:
    worker = celery.worker("--pool=solo")
    redis.flush()
    celery.send()
    wait_until_sent(celery, worker)
    sink.delay = 0.5
    celery.send(40)
    wait_until_in_flight(sink, worker)
    redis.flush()
    celery.send()
    wait_until_sent(celery, worker)

    assert sink.duplicates == 0


@pytest.mark.pitfall(27, 34)
def test_repeated_messages_send_no_email_twice(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=1", VISIBILITY_TIMEOUT="1")
    sink.delay = 1.5
    for _ in range(4):
        celery.send(20)
    wait_for(lambda: has_repeated_task(worker), "a message is repeated", lambda: worker.log)
    wait_until_sent(celery, worker)

    assert sink.duplicates == 0


@pytest.mark.pitfall(33)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_consumes_after_several_reconnections(
    celery: CeleryInstallation, redis: RedisServer, sink: Sink, pool: str
) -> None:
    worker = celery.worker(f"--pool={pool}", "--concurrency=1")
    for _ in range(2):
        redis.kill()
        redis.start()
        time.sleep(1)
    redis.kill()
    posting = measure_post(celery)
    redis.start()
    wait_until_sent(celery, worker)
    celery.send()
    wait_until_sent(celery, worker)

    assert posting < MAX_POST_SECONDS


@pytest.mark.pitfall(32)
def test_a_silent_broker_delays_no_request(celery: CeleryInstallation, redis: RedisServer, sink: Sink) -> None:
    worker = celery.worker("--pool=solo", POLL_SECONDS="1")
    redis.stop()
    try:
        posting = max(measure_post(celery) for _ in range(10))
        wait_until_sent(celery, worker)
    finally:
        redis.resume()

    assert posting < MAX_POST_SECONDS


@pytest.mark.pitfall(33)
def test_a_worker_that_consumes_nothing_delivers(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=1", POLL_SECONDS="2")
    for queue in QUEUES:
        celery.control("cancel_consumer", queue=queue)
    for _ in range(3):
        celery.send()
        wait_until_sent(celery, worker)

    assert worker.log.count("received") <= 1  # by the command of Redis that already waited


def has_repeated_task(worker: Server) -> bool:
    """Return whether the worker has received a message twice."""
    tasks = re.findall(r"wake\[(\S+)] received", worker.log)
    return len(tasks) > len(set(tasks))


def measure_post(celery: CeleryInstallation) -> float:
    """Send an email, and return how many seconds the server took to accept it."""
    started_at = time.monotonic()
    celery.send()
    return time.monotonic() - started_at


# Queues


def test_a_worker_of_the_urgent_queue_sends_only_urgent_emails(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--pool=solo", "--queues=urgent")
    celery.send(2)
    celery.send(priority="high", subject="Your password")
    wait_for(lambda: bool(sink.emails), "the urgent email arrives", lambda: worker.log)
    celery.send(priority="high", subject="Your code")
    wait_for(lambda: len(sink.emails) == 2, "the next urgent email arrives", lambda: worker.log)
    unsent = celery.unsent()
    other = celery.worker("--pool=solo", "--queues=bulk")
    wait_until_sent(celery, other)

    assert [str(email["Subject"]) for email in sink.emails[:2]] == ["Your password", "Your code"]
    assert unsent >= 2


# Beat


@pytest.mark.pitfall(30)
def test_beat_wakes_workers_for_emails_without_a_wake(celery: CeleryInstallation, sink: Sink) -> None:
    worker = celery.worker("--concurrency=1")
    celery.submit(2)
    celery.start("beat")
    wait_until_sent(celery, worker)

    assert list(celery.data.glob("celerybeat-schedule*"))


# Settings


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"DELIVERY_WORKER": "subprocess"}, "Celery delivers only with DELIVERY_WORKER=celery."),
        ({"CELERY_BROKER_URL": ""}, "DELIVERY_WORKER=celery needs a broker."),
        ({"DATA_DIR": "{empty}"}, "run `manage.py prepare`"),
    ],
)
def test_a_worker_refuses_to_start(celery: CeleryInstallation, tmp_path: Path, env: dict[str, str], message: str) -> None:
    worker = celery.start("worker", **{name: value.format(empty=tmp_path) for name, value in env.items()})

    assert worker.wait() == 1
    assert message in worker.log
    assert "Traceback" not in worker.log
