"""The clients of the benchmarks count losses instead of waiting for messages that a server has dropped."""

import asyncio
from collections.abc import Sequence

import pytest

from bench.event_clients import MARK, ClientGroup, CountingClient

pytestmark = pytest.mark.anyio

EVENTS = 3


def group(received: Sequence[int]) -> ClientGroup:
    """Return clients that have received these numbers of events, of `EVENTS` each."""
    many = ClientGroup(quiet_seconds=0.05)
    many.sockets = [CountingClient("/", "", many.on_events) for _ in received]
    for socket, count in zip(many.sockets, received, strict=True):
        socket.data_received(MARK * count)
    return many


async def test_lost_messages_end_the_wait() -> None:
    many = group([EVENTS, 1])

    assert await many.wait(EVENTS) == EVENTS + 1


async def test_the_wait_goes_on_while_messages_arrive() -> None:
    many = group([0, EVENTS])

    async def receive_slowly() -> None:
        for _ in range(EVENTS):
            await asyncio.sleep(0.03)
            many.sockets[0].data_received(MARK)

    receiving = asyncio.create_task(receive_slowly())

    assert await many.wait(EVENTS) == 2 * EVENTS
    await receiving


async def test_a_later_wait_counts_only_later_messages() -> None:
    many = group([EVENTS, 1])
    await many.wait(EVENTS)
    for socket in many.sockets:
        socket.data_received(MARK * EVENTS)

    assert await many.wait(EVENTS) == 2 * EVENTS


async def test_a_rejected_client_is_an_error() -> None:
    client = group([0]).sockets[0]

    client.data_received(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")

    with pytest.raises(ConnectionRefusedError, match="429 Too Many Requests"):
        await client.opened
