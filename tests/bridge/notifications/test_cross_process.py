"""Notifications between processes: signals share notifications, no signal waits, and a process ignores its own notifications."""

import asyncio
import logging
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from pytest_django import Settings

from project.bridge.notifications import cross_process
from project.bridge.notifications.cross_process import ping_channel_layer, publish_on, subscribe
from project.bridge.notifications.local import LocalSignal
from tests.processes import WAIT_TIMEOUT_SECONDS

pytestmark = pytest.mark.anyio

TOPIC = "weather"


class RecordingLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """Channel layer that first raises the errors in `errors`, and then records the topics of its messages."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.topics: list[str] = []
        self.errors: list[Exception] = []
        self.was_called = asyncio.Event()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Record the message and send it, or raise the next error."""
        self.was_called.set()
        if self.errors:
            raise self.errors.pop()
        self.topics.append(group)
        await super().group_send(group, message)


class HangingLayer(RecordingLayer):
    """Channel layer whose `group_send` never returns."""

    calls = 0

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Hang."""
        self.calls += 1
        await asyncio.Event().wait()


class LossyLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """Channel layer that loses the first message, as Redis may before it has processed a subscription."""

    sent = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send all messages but the first."""
        self.sent += 1
        if self.sent > 1:
            await super().send(channel, message)


class StubbornLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """Channel layer that swallows the first cancellation, as redis-py does while it connects."""

    swallowed = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_receiving = asyncio.Event()

    async def receive(self, channel: str) -> dict[str, Any]:
        """Receive a message, and ignore the first cancellation."""
        self.is_receiving.set()
        try:
            message: dict[str, Any] = await super().receive(channel)
        except asyncio.CancelledError:
            if self.swallowed:
                raise
            self.swallowed += 1
            message = await super().receive(channel)
        return message


def use_layer(settings: Settings, layer: type) -> Any:
    """Configure the channel layer, and return it."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}
    return get_channel_layer()


@pytest.fixture
def changed() -> LocalSignal[[]]:
    """Return the local signal that a test publishes to other processes."""
    return LocalSignal[[]]()


async def wait_for_event(event: asyncio.Event) -> None:
    """Wait until the event is set."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        await event.wait()


async def test_a_process_ignores_its_own_notifications(settings: Settings, changed: LocalSignal[[]]) -> None:
    layer, received, was_called = use_layer(settings, RecordingLayer), [], asyncio.Event()

    def listener() -> None:
        received.append("a notification")
        was_called.set()

    async with subscribe(TOPIC, listener):
        await wait_for_event(was_called)
        async with publish_on(changed, topic=TOPIC):
            changed.send()
        was_called.clear()
        await layer.group_send(TOPIC, {"type": "notification", "from": "another process"})  # arrives after our own message
        await wait_for_event(was_called)

    assert received == ["a notification", "a notification"]  # one after subscribing, one from the other process


async def test_signals_at_one_time_share_a_notification_and_the_last_is_sent_at_the_end(
    settings: Settings, changed: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_process, "PUBLISH_INTERVAL_SECONDS", 2 * WAIT_TIMEOUT_SECONDS)
    layer = use_layer(settings, RecordingLayer)
    async with publish_on(changed, topic=TOPIC):
        changed.send()
        await wait_for_event(layer.was_called)
        for _ in range(10):
            await asyncio.to_thread(changed.send)
        assert layer.topics == [TOPIC]

    assert layer.topics == [TOPIC, TOPIC]


async def test_sends_one_notification_at_a_time_to_a_layer_that_hangs(
    settings: Settings, changed: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_process, "PUBLISH_INTERVAL_SECONDS", 0.0)
    layer = use_layer(settings, HangingLayer)
    async with publish_on(changed, topic=TOPIC):
        for _ in range(10):
            await asyncio.to_thread(changed.send)

        assert layer.calls == 1


async def test_logs_an_outage_once_and_sends_the_notification_after_it(
    settings: Settings, changed: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cross_process, "RETRY_DELAY_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    layer = use_layer(settings, RecordingLayer)
    layer.errors = [ConnectionRefusedError("redis://:secret@cache:6379") for _ in range(5)]
    async with publish_on(changed, topic=TOPIC):
        changed.send()
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            while not layer.topics:
                layer.was_called.clear()
                await layer.was_called.wait()
                await asyncio.sleep(0)
        assert layer.topics == [TOPIC]

    logged = [record.getMessage() for record in caplog.records if record.name == cross_process.__name__]
    assert len(logged) == 2
    assert logged[0].startswith("The channel layer is unavailable (ConnectionRefusedError)")
    assert logged[1] == "The channel layer has recovered"


async def test_subscribes_once_the_channel_layer_works(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cross_process, "RETRY_DELAY_SECONDS", 0.01)
    layer, was_called = use_layer(settings, RecordingLayer), asyncio.Event()
    layer.errors = [ConnectionRefusedError() for _ in range(5)]
    async with subscribe(TOPIC, was_called.set):
        await wait_for_event(was_called)

    assert caplog.text.count("The channel layer is unavailable") == 1
    assert layer.channels == {}


async def test_a_ping_succeeds_although_the_first_message_is_lost(settings: Settings) -> None:
    layer = use_layer(settings, LossyLayer)

    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        await ping_channel_layer()

    assert layer.sent == 2


async def test_cancels_again_if_a_cancellation_is_swallowed(settings: Settings) -> None:
    layer = use_layer(settings, StubbornLayer)

    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        async with subscribe(TOPIC, lambda: None):
            await wait_for_event(layer.is_receiving)

    assert layer.swallowed == 1
