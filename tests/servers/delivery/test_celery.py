"""Celery as the engine of delivery, with real processes and Redis as the broker."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.celery_processes import CeleryInstallation, celery_installation
from tests.processes import free_port, wait_for
from tests.redis_server import PROGRAM, RedisServer, redis_server
from tests.servers.api.test_live_events import send
from tests.smtp import Sink

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Redis (Debian: redis-server)")


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    """Start a Redis server for one test, because tests kill it."""
    with redis_server() as server:
        yield server


@pytest.fixture
def celery(data: Path, tmp_path: Path, broker: RedisServer, sink: Sink) -> Iterator[CeleryInstallation]:
    """Return an installation whose emails Celery workers deliver to the sink."""
    with celery_installation(data, tmp_path, CELERY_BROKER_URL=f"{broker.url}/1", EMAIL_URL=sink.url) as installation:
        yield installation


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_message_wakes_a_worker(celery: CeleryInstallation, sink: Sink, pool: str) -> None:
    port = free_port()
    worker, server = celery.worker(f"--pool={pool}", "--concurrency=2", METRICS_PORT=str(port)), celery.serve()
    readiness = server.get("/api/health/ready").json()["checks"]

    send(server, celery.key, 3)
    wait_for(lambda: len(sink.emails) == 3, "the emails arrive", lambda: worker.log)

    def is_counted() -> bool:
        return 'mailrail_events_total{type="email.sent"} 3.0\n' in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text

    wait_for(is_counted, "the worker's metrics count the emails", lambda: worker.log)
    assert readiness["delivery"] == "ok"
