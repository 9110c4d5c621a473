"""Connection of a server process to its supervisor: messages of the other processes, and the request to stop."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..notifications.process_messages import incoming, outgoing
from .control_pipe import ControlPipe


@asynccontextmanager
async def connect_server_to_supervisor(on_stop: Callable[[float | None], object]) -> AsyncIterator[ControlPipe]:
    """Exchange messages with the other processes while this context is open, and yield the pipe for heartbeats.

    `on_stop` is called once, when the supervisor wants this process to stop or was killed. Its argument are the seconds that this
    process may take, or None if the supervisor was killed.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor reacts to SIGHUP and replaces this process
    pipe = await ControlPipe.open(socket.socket(fileno=os.dup(0)))
    receiving = asyncio.create_task(_receive(pipe, on_stop))
    try:
        with outgoing.subscribed(pipe.send):
            yield pipe
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        pipe.close()


async def _receive(pipe: ControlPipe, on_stop: Callable[[float | None], object]) -> None:
    async for line in pipe.lines():
        if line:
            incoming.send(line)
    on_stop(pipe.received_grace)
