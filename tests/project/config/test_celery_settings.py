"""Celery's settings that follow from the broker's URL."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import kombu
import pytest

from project.config.celery_settings import QUEUES, beat_schedule, broker_tls
from tests.certificates import write_certificate


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """Run a TLS server with a self-signed certificate, and return its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(write_certificate(tmp_path / "certificate.pem"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connection, _ = listener.accept()
                with suppress(ssl.SSLError), connection, context.wrap_socket(connection, server_side=True):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
def test_the_certificate_of_the_broker_is_verified(tls_port: int, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{tls_port}/"
    connection = kombu.Connection(url, ssl=broker_tls(url), connect_timeout=5)

    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        connection.connect()


@pytest.mark.parametrize("url", [None, "redis://redis/1", "amqp://rabbitmq//", "rediss://redis/1?ssl_cert_reqs=none"])
def test_other_brokers_have_no_tls_options(url: str | None) -> None:
    assert broker_tls(url) is None


def test_beat_wakes_each_queue() -> None:
    entries = beat_schedule().values()

    assert {entry["options"]["queue"] for entry in entries if entry["task"] == "mailrail.wake"} == set(QUEUES)
    assert all(entry["options"]["expires"] > 0 for entry in entries)
