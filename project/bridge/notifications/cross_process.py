"""Notifications between processes. A notification carries no data.

They pass through Django's channel layer and, if the processes have a supervisor, through its pipes (`process_messages`).
Notifications may be lost, so a subscriber must also poll, at longer intervals. Senders never wait for delivery.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from channels.layers import get_channel_layer

from .local import LocalSignal
from .process_messages import incoming, outgoing

logger = logging.getLogger(__name__)

PROCESS_ID = uuid4().hex  # sent with each notification, so that a process can ignore its own
PUBLISH_INTERVAL_SECONDS = 0.02  # signals within this interval share one notification
RETRY_DELAY_SECONDS = 1.0  # between retries while the channel layer is unavailable
SEND_TIMEOUT_SECONDS = 1.0  # for the channel layer to accept a notification
PING_INTERVAL_SECONDS = 0.1  # between pings, until a ping is received
CANCEL_INTERVAL_SECONDS = 0.1  # between cancellations, until the task ends
UNUSED_TOPIC = "unused"  # a topic without subscribers

Message = dict[str, Any]


class _Outage:
    """Tracks which operations on the channel layer fail. Logs the first failure, and the recovery of the last operation."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def add(self, operation: str, error: Exception) -> None:
        """Mark an operation as failing. Log the failure if no other operation was failing."""
        if not self._failing:
            name = type(error).__name__  # not the error message, which may contain hosts and user names
            logger.error(
                "The channel layer is unavailable (%s); polling for changes from other processes until it recovers", name
            )
        self._failing.add(operation)

    def resolve(self, operation: str) -> None:
        """Mark an operation as working. Log the recovery if it was the last failing operation."""
        if self._failing and self.discard(operation):
            logger.warning("The channel layer has recovered")

    def discard(self, operation: str) -> bool:
        """Drop an operation that is no longer used. Return whether all remaining operations work."""
        self._failing.discard(operation)
        return not self._failing


_outage = _Outage()


@asynccontextmanager
async def publish_on(signal: LocalSignal[[]], *, topic: str) -> AsyncIterator[None]:
    """Notify subscribers of `topic` in other processes each time `signal` is sent, while this context is open."""
    loop, pending, is_due = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def set_events() -> None:
        pending.set()
        is_due.set()

    with signal.subscribed(lambda: loop.call_soon_threadsafe(set_events)):
        async with _running_task(_publish_loop(pending, topic)), _running_task(_send_outgoing_loop(is_due, topic)):
            yield
    # If an event is set, the signal was sent at the very end, and its loop has not published it.
    if is_due.is_set():
        outgoing.send(topic)
    if pending.is_set():
        await _send(topic)
    _outage.discard(_send_key(topic))


@asynccontextmanager
async def subscribe(topic: str, listener: Callable[[], object]) -> AsyncIterator[None]:
    """Call `listener` in this event loop for each notification from another process, while this context is open.

    `listener` is also called after each connection and reconnection, because earlier notifications may have been missed.
    """

    def on_incoming(received: str) -> None:
        if received == topic:
            listener()

    with incoming.subscribed(on_incoming):
        async with _running_task(_receive_loop(topic, listener)):
            yield
    _outage.discard(topic)


async def ping_channel_layer() -> None:
    """Send a message to this process through the channel layer, and wait until it arrives. Raises the channel layer's errors."""
    layer, received = get_channel_layer(), asyncio.Event()
    channel = await _new_channel(layer)
    # The task receives forever and is then canceled: Channels has no other way to close a channel.
    async with _running_task(_receive(layer, channel, lambda _message: received.set())):
        # The ping is repeated: channels_redis does not wait until it is subscribed, so the first message may be lost.
        while not received.is_set():
            await layer.send(channel, {"type": "ping"})
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_INTERVAL_SECONDS):
                    await received.wait()


async def _publish_loop(pending: asyncio.Event, topic: str) -> None:
    while True:
        await pending.wait()
        pending.clear()
        if await _send(topic):
            await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)
        else:
            pending.set()
            await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _send_outgoing_loop(is_due: asyncio.Event, topic: str) -> None:
    while True:
        await is_due.wait()
        is_due.clear()
        outgoing.send(topic)  # apart from the channel layer, which may hang
        await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)


async def _send(topic: str) -> bool:
    """Send a notification. Return whether the channel layer accepted it."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await get_channel_layer().group_send(topic, {"type": "notification", "from": PROCESS_ID})
    except Exception as error:  # noqa: BLE001  # each backend raises different errors, and a notification may be lost
        _outage.add(_send_key(topic), error)
        return False
    _outage.resolve(_send_key(topic))
    return True


def _send_key(topic: str) -> str:
    return f"to {topic}"


async def _receive_loop(topic: str, listener: Callable[[], object]) -> None:
    def on_message(message: Message) -> None:
        if message.get("from") != PROCESS_ID:
            listener()

    while True:
        try:
            layer = get_channel_layer()
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                channel = await _new_channel(layer)
                await layer.group_add(topic, channel)
            _outage.resolve(topic)
            listener()  # notifications may have been missed before
            await _receive(layer, channel, on_message)
        except Exception as error:  # noqa: BLE001  # each backend raises different errors, and all are retried
            _outage.add(topic, error)
        await asyncio.sleep(RETRY_DELAY_SECONDS)


async def _new_channel(layer: Any) -> str:
    # RedisPubSubChannelLayer leaks memory for each channel that it fails to create, so first check that Redis is reachable.
    await layer.group_send(UNUSED_TOPIC, {"type": "ping"})
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
        while not task.done():  # redis-py swallows a cancellation that arrives while it connects
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_INTERVAL_SECONDS)
        await asyncio.gather(task, return_exceptions=True)
