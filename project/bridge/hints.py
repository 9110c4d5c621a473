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

from .listeners import Listeners

logger = logging.getLogger(__name__)

HERE = uuid4().hex  # this process: it needs no hint of its own
AT_MOST_EVERY = 0.02  # seconds: what happens meanwhile shares the next hint
AGAIN_AFTER = 1.0  # seconds between tries while the channel layer fails
PATIENCE = 1.0  # seconds for the channel layer to take a hint
ECHO_EVERY = 0.1  # seconds, until one is heard
CANCEL_EVERY = 0.1  # seconds, until work has ended
NOBODY = "nobody"  # a topic that nobody hears

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
async def passing_on(happened: Listeners[[]], *, topic: str) -> AsyncIterator[None]:
    """While this is open, tell other processes what happens in this one."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    with happened.listening(lambda: loop.call_soon_threadsafe(told.set)):
        async with _working(_pass_on(told, topic)):
            yield
    if told.is_set():  # at the very end, and its turn had not come
        await _send(topic)
    _outage.forget(_sending(topic))


@asynccontextmanager
async def hearing(topic: str, listener: Callable[[], object]) -> AsyncIterator[None]:
    """While this is open, call `listener` in this loop when another process gave a hint, or may have given one unheard."""
    async with _working(_hear(topic, listener)):
        yield
    _outage.forget(topic)


async def echo() -> None:
    """Send ourselves a message, and hear it. Raises what goes wrong."""
    layer, came = get_channel_layer(), asyncio.Event()
    channel = await _new_channel(layer)
    # Received for ever, and canceled: Channels has no other way to end a channel.
    async with _working(_receive(layer, channel, lambda _message: came.set())):
        while not came.is_set():  # Redis may take the first before it has heard that we listen, and channels_redis does not wait
            await layer.send(channel, {"type": "echo"})
            with suppress(TimeoutError):
                async with asyncio.timeout(ECHO_EVERY):
                    await came.wait()


async def _pass_on(told: asyncio.Event, topic: str) -> None:
    while True:
        await told.wait()
        told.clear()
        if await _send(topic):
            await asyncio.sleep(AT_MOST_EVERY)
        else:
            told.set()
            await asyncio.sleep(AGAIN_AFTER)


async def _send(topic: str) -> bool:
    """Give a hint. Gives whether the channel layer took it."""
    try:
        async with asyncio.timeout(PATIENCE):
            await get_channel_layer().group_send(topic, {"type": "hint", "from": HERE})
    except Exception as error:  # noqa: BLE001  # whatever it is, the hint is lost, and it is only a hint
        _outage.begins(_sending(topic), error)
        return False
    _outage.ends(_sending(topic))
    return True


def _sending(topic: str) -> str:
    return f"to {topic}"


async def _hear(topic: str, listener: Callable[[], object]) -> None:
    def hear(message: Message) -> None:
        if message.get("from") != HERE:
            listener()

    while True:
        try:
            layer = get_channel_layer()
            async with asyncio.timeout(PATIENCE):
                channel = await _new_channel(layer)
                await layer.group_add(topic, channel)
            _outage.ends(topic)
            listener()  # for what it did not hear before
            await _receive(layer, channel, hear)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
            _outage.begins(topic, error)
        await asyncio.sleep(AGAIN_AFTER)


async def _new_channel(layer: Any) -> str:
    # RedisPubSubChannelLayer keeps something of each channel that it fails to make: so first see that Redis is there.
    await layer.group_send(NOBODY, {"type": "hint"})
    channel: str = await layer.new_channel()
    return channel


async def _receive(layer: Any, channel: str, listener: Callable[[Message], object]) -> None:
    while True:
        listener(await layer.receive(channel))


@asynccontextmanager
async def _working(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():  # redis-py swallows a cancellation that comes while it connects
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_EVERY)
        await asyncio.gather(task, return_exceptions=True)
