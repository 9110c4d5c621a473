"""Daphne's WebSockets with `ConnectionLimits`."""

from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from .connection_limits import WriteBackpressure


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """One WebSocket, on the transport of the HTTP connection that it was upgraded from."""

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Register with the transport for backpressure, in place of the HTTP connection."""
        super().connectionMade()
        self.backpressure = WriteBackpressure(self.transport, self.factory.server_class.limits.write_timeout)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.backpressure, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Cancel the write timeout."""
        self.backpressure.stopProducing()
        super().connectionLost(reason)

    def onAutoPingTimeout(self) -> None:  # noqa: N802  # Autobahn's name
        """Disconnect a client that does not answer pings.

        While reading from the client is paused, the client's pong may be waiting unread. So the client gets another ping.
        """
        if self.application_queue.is_full:
            self.autoPingPending = self.autoPingTimeoutCall = None
        else:
            super().onAutoPingTimeout()
