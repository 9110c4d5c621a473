"""The queue of a WebSocket's received messages, and the slices in which its data is parsed."""

import asyncio
from typing import Any

import pytest

from project.bridge.server.connection_limits import ReceiveQueue
from project.bridge.server.websocket_protocol import SLICE_BYTES

SMALLEST_FRAME_BYTES = 6  # a masked frame without content (RFC 6455 section 5.2)
MAX_FRAMES_AT_ONCE = 100  # parsing one takes up to 50 µs


class Transport:
    """A transport that never pauses."""

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Do nothing."""

    def resumeProducing(self) -> None:  # noqa: N802  # Twisted's name
        """Do nothing."""


@pytest.mark.anyio
async def test_other_tasks_run_between_two_messages_that_are_waiting() -> None:
    queue, order = ReceiveQueue(Transport(), messages_per_second=0), list[str]()
    for number in range(3):
        queue.put_nowait({"type": "websocket.receive", "text": str(number)})

    async def receive(source: Any) -> None:
        for _ in range(3):
            order.append((await source.get())["text"])

    async def run_beside() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(receive(queue), run_beside())

    assert order == ["other", "0", "other", "1", "other", "2"]


def test_a_slice_contains_few_frames() -> None:
    assert SLICE_BYTES / SMALLEST_FRAME_BYTES < MAX_FRAMES_AT_ONCE
