"""Hints between processes, through Django's channel layer: that something happened, and no more.

A hint may be lost, so whoever needs to know looks by itself now and then, too. Nobody ever waits for one to be sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from channels.layers import get_channel_layer

from .local import LocalSignal

logger = logging.getLogger(__name__)

PROCESS_ID = uuid4().hex  # this process: it needs no hint of its own
PUBLISH_INTERVAL_SECONDS = 0.02  # seconds: what happens meanwhile shares the next hint
RETRY_DELAY_SECONDS = 1.0  # seconds between tries while the channel layer fails
SEND_TIMEOUT_SECONDS = 1.0  # seconds for the channel layer to take a hint
PING_INTERVAL_SECONDS = 0.1  # seconds, until one is heard
CANCEL_INTERVAL_SECONDS = 0.1  # seconds, until work has ended
UNUSED_TOPIC = "nobody"  # a topic that nobody hears

Message = dict[str, Any]


class _Outage:
    """What of the channel layer fails. Said when it begins, and when all of it is over."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def begins(self, part: str, error: Exception) -> None:
        """A part does not work; said once."""
        if not self._failing:
            name = type(error).__name__  # not its text, which may name hosts and users
            logger.error("The channel layer fails (%s): until it works, other processes are heard of by looking alone", name)
        self._failing.add(part)

    def ends(self, part: str) -> None:
        """It works."""
        if self._failing and self.forget(part):
            logger.warning("The channel layer works again")

    def forget(self, part: str) -> bool:
        """It is no longer in use. Gives whether nothing fails."""
        self._failing.discard(part)
        return not self._failing


_outage = _Outage()


@asynccontextmanager
async def publish_on(happened: LocalSignal[[]], *, topic: str) -> AsyncIterator[None]:
    """While this is open, tell other processes what happens in this one."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    with happened.subscribed(lambda: loop.call_soon_threadsafe(told.set)):
        async with _running_task(_publish_loop(told, topic)):
            yield
    if told.is_set():  # at the very end, and its turn had not come
        await _send(topic)
    _outage.forget(_send_key(topic))


@asynccontextmanager
async def subscribe(topic: str, listener: Callable[[], object]) -> AsyncIterator[None]:
    """While this is open, call `listener` in this loop when another process gave a hint, or may have given one unheard."""
    async with _running_task(_receive_loop(topic, listener)):
        yield
    _outage.forget(topic)


async def ping_channel_layer() -> None:
    """Send ourselves a message, and hear it. Raises what goes wrong."""
    layer, came = get_channel_layer(), asyncio.Event()
    channel = await _new_channel(layer)
    # Received for ever, and canceled: Channels has no other way to end a channel.
    async with _running_task(_receive(layer, channel, lambda _message: came.set())):
        while not came.is_set():  # Redis may take the first before it has heard that we listen, and channels_redis does not wait
            await layer.send(channel, {"type": "echo"})
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_INTERVAL_SECONDS):
                    await came.wait()


async def _publish_loop(told: asyncio.Event, topic: str) -> None:
    while True:
        await told.wait()
        told.clear()
        if await _send(topic):
            await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)
        else:
            told.set()
            await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _send(topic: str) -> bool:
    """Give a hint. Gives whether the channel layer took it."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await get_channel_layer().group_send(topic, {"type": "hint", "from": PROCESS_ID})
    except Exception as error:  # noqa: BLE001  # whatever it is, the hint is lost, and it is only a hint
        _outage.begins(_send_key(topic), error)
        return False
    _outage.ends(_send_key(topic))
    return True


def _send_key(topic: str) -> str:
    return f"to {topic}"


async def _receive_loop(topic: str, listener: Callable[[], object]) -> None:
    def hear(message: Message) -> None:
        if message.get("from") != PROCESS_ID:
            listener()

    while True:
        try:
            layer = get_channel_layer()
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                channel = await _new_channel(layer)
                await layer.group_add(topic, channel)
            _outage.ends(topic)
            listener()  # for what it did not hear before
            await _receive(layer, channel, hear)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
            _outage.begins(topic, error)
        await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _new_channel(layer: Any) -> str:
    # RedisPubSubChannelLayer keeps something of each channel that it fails to make: so first see that Redis is there.
    await layer.group_send(UNUSED_TOPIC, {"type": "hint"})
    channel: str = await layer.new_channel()
    return channel


async def _receive(layer: Any, channel: str, listener: Callable[[Message], object]) -> None:
    while True:
        listener(await layer.receive(channel))


@asynccontextmanager
async def _running_task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():  # redis-py swallows a cancellation that comes while it connects
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_INTERVAL_SECONDS)
        await asyncio.gather(task, return_exceptions=True)
