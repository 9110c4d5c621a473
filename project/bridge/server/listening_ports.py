"""Closing of listening ports without losing the connections that clients have already opened.

The kernel opens a connection before the server accepts it. Closing the listening socket resets the connections that still wait,
although their clients may have sent a request.
"""

import asyncio
import select
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor, tcp
from twisted.internet.defer import Deferred

MAX_WAITING_CONNECTIONS = 4096  # the default of net.core.somaxconn


async def stop_listening(ports: Sequence[Any]) -> None:
    """Accept all connections that wait, and close Twisted's ports."""
    for port in ports:
        # It runs directly before the port closes, because both run in the next iteration of the loop, in this order.
        reactor.callLater(0, _accept_waiting_connections, port)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(Deferred.asFuture(port.stopListening(), loop) for port in ports))


def _accept_waiting_connections(port: Any) -> None:
    waiting = select.poll()
    waiting.register(port.fileno(), select.POLLIN)
    for _ in range(MAX_WAITING_CONNECTIONS):
        if not waiting.poll(0):
            break
        tcp.Port.doRead(port)  # at once, even if the port shares its connections with other processes
