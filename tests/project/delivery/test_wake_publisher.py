"""Wakes are published beside the code that queues emails, however the broker behaves."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from project.config.celery_settings import BULK_QUEUE, URGENT_QUEUE
from project.delivery import wake_publisher
from project.delivery.wake_publisher import Broker, WakePublisher
from tests.processes import wait_for

StartPublisher = Callable[[Broker], WakePublisher]


class RecordingBroker(Broker):
    """A broker that stores the queues of the wakes, and fails while `is_broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes: list[str] = []
        self.attempts = 0
        self.is_broken = False

    def publish(self, queue: str) -> None:
        """Store the wake, or fail."""
        self.attempts += 1
        if self.is_broken:
            raise ConnectionError
        self.wakes.append(queue)


@pytest.fixture
def start() -> Iterator[StartPublisher]:
    """Return a function that starts a publisher with a broker."""
    started: list[WakePublisher] = []

    def start_publisher(broker: Broker) -> WakePublisher:
        publisher = WakePublisher(broker=broker)
        started.append(publisher)
        publisher.start()
        return publisher

    yield start_publisher
    for publisher in started:
        publisher.stop()


@pytest.fixture(params=["redis", "amqp"])
def silent_broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a broker that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("CELERY_BROKER_URL", f"{request.param}://127.0.0.1:{listener.getsockname()[1]}")
        yield


def test_a_burst_shares_a_message_per_queue(start: StartPublisher) -> None:
    broker = RecordingBroker()
    publisher = start(broker)
    for _ in range(1000):
        publisher.wake(BULK_QUEUE)
        publisher.wake(URGENT_QUEUE)
    publisher.stop()

    assert set(broker.wakes) == {BULK_QUEUE, URGENT_QUEUE}
    assert len(broker.wakes) < 20


def test_wakes_during_an_outage_share_the_next_attempt(start: StartPublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake_publisher, "FIRST_PAUSE_SECONDS", 0.2)
    broker = RecordingBroker()
    broker.is_broken = True
    publisher = start(broker)
    for _ in range(100):
        publisher.wake()
        time.sleep(0.001)
    attempts, broker.is_broken = broker.attempts, False
    wait_for(lambda: broker.wakes == [BULK_QUEUE], "the wake is published after the outage")

    assert attempts <= 2


@pytest.mark.pitfall(32)
@pytest.mark.usefixtures("silent_broker")
def test_a_silent_broker_delays_no_caller_and_no_stop(start: StartPublisher) -> None:
    broker = Broker()
    publisher = start(broker)
    started_at = time.monotonic()
    for _ in range(1000):
        publisher.wake()
    waking = time.monotonic() - started_at
    publisher.stop()

    assert waking < 0.5
    assert time.monotonic() - started_at < 0.5 + wake_publisher.STOP_TIMEOUT_SECONDS * 2


@pytest.mark.usefixtures("silent_broker")
def test_an_attempt_with_a_silent_broker_fails_in_time() -> None:
    started_at = time.monotonic()
    with pytest.raises(Exception):  # noqa: B017, PT011  # each transport raises different errors
        Broker().publish(BULK_QUEUE)

    assert time.monotonic() - started_at < 4 * wake_publisher.TIMEOUT_SECONDS


def test_stop_publishes_what_is_pending(start: StartPublisher) -> None:
    broker = RecordingBroker()
    publisher = start(broker)
    publisher.wake()
    publisher.stop()

    assert broker.wakes == [BULK_QUEUE]
    assert "wakes" not in {thread.name for thread in threading.enumerate()}
