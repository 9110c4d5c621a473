"""Celery as the engine of delivery, with RabbitMQ as the broker. The other tests of Celery use Redis, which starts faster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.celery_processes import CeleryInstallation, celery_installation
from tests.processes import Server, wait_for
from tests.rabbitmq import PROGRAM, RabbitMQ, rabbitmq
from tests.smtp import Sink

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs RabbitMQ (Debian: rabbitmq-server)")


@pytest.fixture
def broker() -> Iterator[RabbitMQ]:
    """Start a node of RabbitMQ, which the test kills."""
    with rabbitmq() as node:
        yield node


@pytest.fixture
def celery(data: Path, tmp_path: Path, broker: RabbitMQ, sink: Sink) -> Iterator[CeleryInstallation]:
    """Run a server whose emails Celery workers deliver."""
    with celery_installation(data, tmp_path, broker_url=broker.url, relay_url=sink.url) as installation:
        yield installation


def wait_until_sent(celery: CeleryInstallation, worker: Server) -> None:
    """Wait until all emails are sent."""
    wait_for(lambda: not celery.unsent(), "all emails are sent", lambda: worker.log + celery.server.log)


@pytest.mark.timeout(300)
def test_a_wake_delivers_before_and_after_a_restart_of_the_broker(
    celery: CeleryInstallation, broker: RabbitMQ, sink: Sink
) -> None:
    worker = celery.worker("--concurrency=1")
    celery.send(2)
    wait_until_sent(celery, worker)
    broker.kill()
    celery.send(2)  # answered without the broker
    broker.start()
    wait_until_sent(celery, worker)

    assert (len(sink.emails), sink.duplicates) == (4, 0)
