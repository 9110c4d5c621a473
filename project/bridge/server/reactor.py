"""Twisted's reactor on uvloop.

When a socket is reset, uvloop reads from it once more and then stops watching it without reporting the reset
(MagicStack/uvloop#552, twisted/twisted#11904). If a client's last data and a reset arrive together, the read returns the data and
not the reset. The connection would then never end, and each write to the connection would raise an exception.
"""

from socket import SO_ERROR, SOL_SOCKET
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectionLost
from twisted.internet.main import installReactor
from twisted.internet.tcp import Connection


class UvloopReactor(AsyncioSelectorReactor):  # type: ignore[misc]  # Twisted has no types
    """Reactor on uvloop that checks after each read whether the socket was reset."""

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # noqa: N802  # Twisted's name
        super()._readOrWrite(selectable, read)
        if read and isinstance(selectable, Connection) and selectable.connected and _was_reset(selectable):
            self._disconnectSelectable(selectable, ConnectionLost(), read)


def install_reactor() -> None:
    """Install the reactor. Call this function before Daphne or other code imports `twisted.internet.reactor`."""
    installReactor(UvloopReactor(uvloop.new_event_loop()))


def _was_reset(connection: Any) -> bool:
    return bool(connection.socket.getsockopt(SOL_SOCKET, SO_ERROR))
