"""Twisted's reactor on uvloop.

uvloop stops watching a socket that was reset, after one last read, and tells nobody (MagicStack/uvloop#552,
twisted/twisted#11904): when what a client said last and its reset come at once, that read finds what was said and not the
reset, the connection never ends, and whatever is written to it raises.
"""

from socket import SO_ERROR, SOL_SOCKET
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectionLost
from twisted.internet.main import installReactor
from twisted.internet.tcp import Connection


class UvloopReactor(AsyncioSelectorReactor):  # type: ignore[misc]  # Twisted has no types
    """Asks, after each read, whether it was the last."""

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # noqa: N802  # Twisted's name
        super()._readOrWrite(selectable, read)
        if read and isinstance(selectable, Connection) and selectable.connected and _was_reset(selectable):
            self._disconnectSelectable(selectable, ConnectionLost(), read)


def install_reactor() -> None:
    """Before anything imports `twisted.internet.reactor`, which Daphne does."""
    installReactor(UvloopReactor(uvloop.new_event_loop()))


def _was_reset(connection: Any) -> bool:
    return bool(connection.socket.getsockopt(SOL_SOCKET, SO_ERROR))
