"""Endings of a connection by the server: after a response, after an error, and if the application has not closed it."""

from typing import Any

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol

# https://www.iana.org/assignments/websocket/websocket.xml
NORMAL_CLOSURE, SERVICE_RESTART = 1000, 1012


def close_after_response(protocol: Any) -> None:
    """Close the connection after the response in progress. A WebSocket is closed now, with the code of a restart."""
    if isinstance(protocol, WebSocketProtocol):
        if protocol.state == protocol.STATE_OPEN:
            protocol.sendCloseFrame(code=SERVICE_RESTART)
    elif not protocol.finished and protocol.channel is not None:  # a finished request has no channel
        protocol.channel.persistent = False  # close the connection after this response
        protocol.responseHeaders.setRawHeaders(b"connection", [b"close"])


def close_unclosed_websocket(protocol: Any) -> None:
    """Close a WebSocket whose application has returned without closing it. Otherwise the client would wait forever."""
    if hasattr(protocol, "handshake_deferred"):  # the handshake is neither accepted nor rejected
        protocol.serverReject()
    elif protocol.state == protocol.STATE_OPEN:
        protocol.sendCloseFrame(code=NORMAL_CLOSURE)


def is_closed_websocket(protocol: Any) -> bool:
    """Return whether the client has left a WebSocket. Daphne notes that a moment later, and sending raises until then."""
    return isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_CLOSED


def send_error_response(protocol: Any, error: BaseException) -> None:
    """Tell the client that the application failed, or disconnect if the response has started."""
    if isinstance(protocol, WebRequest) and protocol._response_started:
        protocol.loseConnection()  # the client must notice that the response, which has started, is incomplete
    else:
        protocol.handle_exception(error)
