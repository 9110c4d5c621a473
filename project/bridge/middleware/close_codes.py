"""WebSocket close codes as the application meant them.

Autobahn's `sendClose`, which Daphne calls, raises for every code but 1000 and 3000-4999, so that 1003, 1008, 1009,
1011 and 1012 (RFC 6455 section 7.4.1), which a server is meant to send, end in a traceback. One level below, Autobahn
sends any.
"""

from functools import partial
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CloseCodeMiddleware:
    """An ASGI application for WebSockets: under Daphne it closes with the code it is given. Elsewhere it changes nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = _daphne_protocol(send)
        await self.app(scope, receive, partial(_send, protocol, send) if protocol is not None else send)


async def _send(protocol: Any, send: Send, message: Message) -> None:
    if message["type"] == "websocket.close" and protocol.state == protocol.STATE_OPEN:
        protocol.sendCloseFrame(code=message.get("code", 1000), reasonUtf8=message.get("reason", "").encode()[:123] or None)
    else:
        await send(message)


def _daphne_protocol(send: Send) -> Any:
    # Daphne's `send` is partial(Server.handle_reply, protocol).
    protocol = send.args[0] if isinstance(send, partial) and send.args else None
    return protocol if hasattr(protocol, "sendCloseFrame") else None
