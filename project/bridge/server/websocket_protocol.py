"""Daphne's WebSockets with `ConnectionLimits`."""

import asyncio
from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from .connection_limits import ReadGate, WriteBackpressure

SLICE_BYTES = 512  # parsed at once, about 85 of the smallest frames; other connections are served between two slices
FIRST_CONTROL_OPCODE = 8  # RFC 6455 section 5.2


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]  # Daphne has no types
    """One WebSocket, on the transport of the HTTP connection that it was upgraded from."""

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
        """Register with the transport for backpressure, in place of the HTTP connection."""
        super().connectionMade()
        self.read_gate = ReadGate(self.transport)
        self.backpressure = WriteBackpressure(self.transport, self.factory.server_class.limits.write_timeout)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.backpressure, True)
        self._unparsed = b""
        self._seconds_to_wait = 0.0
        self._next_slice: asyncio.TimerHandle | None = None  # reading is paused until then

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # Twisted's name
        """Cancel all timeouts."""
        if self._next_slice is not None:
            self._next_slice.cancel()
        self.backpressure.stopProducing()
        self.factory.server_class.open_connections.remove(self.transport)
        super().connectionLost(reason)

    # Reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's name
        """Parse data in slices, so that many tiny frames do not delay other connections."""
        self._unparsed += data
        if self._next_slice is None:
            self._parse_slice()

    def _parse_slice(self) -> None:
        data, self._unparsed = self._unparsed[:SLICE_BYTES], self._unparsed[SLICE_BYTES:]
        super().dataReceived(data)
        if self._unparsed or self._seconds_to_wait > 0:
            if self._next_slice is None:
                self.read_gate.pauseProducing()
            self._next_slice = asyncio.get_running_loop().call_later(max(0.0, self._seconds_to_wait), self._parse_slice)
            self._seconds_to_wait = 0.0
        elif self._next_slice is not None:
            self._next_slice = None
            self.read_gate.resumeProducing()

    def onFrameBegin(self) -> None:  # noqa: N802  # Autobahn's name
        """Count control frames and fragments for the message rate. `ReceiveQueue.get` counts the messages."""
        super().onFrameBegin()
        frame, queue = self.current_frame, getattr(self, "application_queue", None)
        if queue is not None and (frame.opcode >= FIRST_CONTROL_OPCODE or not frame.fin):
            self._seconds_to_wait = queue.count_frame()

    def onAutoPingTimeout(self) -> None:  # noqa: N802  # Autobahn's name
        """Disconnect a client that does not answer pings.

        While reading from the client is paused, the client's pong may be waiting unread. So the client gets another ping.
        """
        if self.read_gate.is_paused:
            self.autoPingPending = self.autoPingTimeoutCall = None
        else:
            super().onAutoPingTimeout()
