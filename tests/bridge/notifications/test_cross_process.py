"""Hints: few, never waited for, and heard by others alone."""

import asyncio
import logging
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from pytest_django import Settings

from project.bridge.notifications import cross_process
from project.bridge.notifications.cross_process import ping_channel_layer, publish_on, subscribe
from project.bridge.notifications.local import LocalSignal
from tests.processes import PATIENCE

pytestmark = pytest.mark.anyio

TOPIC = "weather"


class Telling(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer that keeps what it is given, and fails while `troubles` has an error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.given: list[str] = []
        self.troubles: list[Exception] = []
        self.was_given = asyncio.Event()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Keep it, or fail."""
        self.was_given.set()
        if self.troubles:
            raise self.troubles.pop()
        self.given.append(group)
        await super().group_send(group, message)


class Hung(Telling):
    """A channel layer that takes a message and never says so."""

    asked = 0

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Hang."""
        self.asked += 1
        await asyncio.Event().wait()


class Forgetful(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer that takes the first message before it has heard that anybody listens, as Redis may."""

    sent = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Deliver all but the first."""
        self.sent += 1
        if self.sent > 1:
            await super().send(channel, message)


class Stubborn(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer that swallows a cancellation, as redis-py does while it connects."""

    swallowed = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.listens = asyncio.Event()

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait, and once more when it is told not to."""
        self.listens.set()
        try:
            message: dict[str, Any] = await super().receive(channel)
        except asyncio.CancelledError:
            if self.swallowed:
                raise
            self.swallowed += 1
            message = await super().receive(channel)
        return message


def use(settings: Settings, layer: type) -> Any:
    """Make it the channel layer."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}
    return get_channel_layer()


@pytest.fixture
def happened() -> LocalSignal[[]]:
    """What there is to hear of."""
    return LocalSignal[[]]()


async def came(event: asyncio.Event) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def test_a_process_does_not_hear_its_own(settings: Settings, happened: LocalSignal[[]]) -> None:
    layer, heard, began = use(settings, Telling), [], asyncio.Event()

    def listener() -> None:
        heard.append("a hint")
        began.set()

    async with subscribe(TOPIC, listener):
        await came(began)
        async with publish_on(happened, topic=TOPIC):
            happened.send()
        began.clear()
        await layer.group_send(TOPIC, {"type": "hint", "from": "another process"})  # it comes after ours
        await came(began)

    assert heard == ["a hint", "a hint"]  # that of the start, and the other process's


async def test_what_happens_at_once_shares_a_hint_and_the_last_is_sent_at_the_end(
    settings: Settings, happened: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_process, "PUBLISH_INTERVAL_SECONDS", 2 * PATIENCE)
    layer = use(settings, Telling)
    async with publish_on(happened, topic=TOPIC):
        happened.send()
        await came(layer.was_given)
        for _ in range(10):
            await asyncio.to_thread(happened.send)
        assert layer.given == [TOPIC]

    assert layer.given == [TOPIC, TOPIC]


async def test_a_channel_layer_that_hangs_is_given_no_second_hint(
    settings: Settings, happened: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_process, "PUBLISH_INTERVAL_SECONDS", 0.0)
    layer = use(settings, Hung)
    async with publish_on(happened, topic=TOPIC):
        for _ in range(10):
            await asyncio.to_thread(happened.send)

        assert layer.asked == 1


async def test_an_outage_is_told_of_once_and_the_hint_goes_out_after_it(
    settings: Settings, happened: LocalSignal[[]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cross_process, "RETRY_DELAY_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    layer = use(settings, Telling)
    layer.troubles = [ConnectionRefusedError("redis://:secret@cache:6379") for _ in range(5)]
    async with publish_on(happened, topic=TOPIC):
        happened.send()
        async with asyncio.timeout(PATIENCE):
            while not layer.given:
                layer.was_given.clear()
                await layer.was_given.wait()
                await asyncio.sleep(0)
        assert layer.given == [TOPIC]

    told = [record.getMessage() for record in caplog.records if record.name == cross_process.__name__]
    assert len(told) == 2
    assert told[0].startswith("The channel layer fails (ConnectionRefusedError)")
    assert told[1] == "The channel layer works again"


async def test_who_could_not_listen_does_when_the_channel_layer_works(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cross_process, "RETRY_DELAY_SECONDS", 0.01)
    layer, heard = use(settings, Telling), asyncio.Event()
    layer.troubles = [ConnectionRefusedError() for _ in range(5)]
    async with subscribe(TOPIC, heard.set):
        await came(heard)

    assert caplog.text.count("The channel layer fails") == 1
    assert layer.channels == {}


async def test_an_echo_is_heard_though_the_first_message_is_lost(settings: Settings) -> None:
    layer = use(settings, Forgetful)

    async with asyncio.timeout(PATIENCE):
        await ping_channel_layer()

    assert layer.sent == 2


async def test_what_swallows_a_cancellation_is_canceled_again(settings: Settings) -> None:
    layer = use(settings, Stubborn)

    async with asyncio.timeout(PATIENCE):
        async with subscribe(TOPIC, lambda: None):
            await came(layer.listens)

    assert layer.swallowed == 1
