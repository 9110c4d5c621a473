"""WebSocket close codes for Daphne.

Daphne calls Autobahn's `sendClose`, which raises for every code except 1000 and 3000-4999. So other codes that servers need,
such as 1003, 1008, 1009, 1011 and 1012 (RFC 6455 section 7.4.1), cause a traceback. Autobahn's `sendCloseFrame` sends any code.
"""

from functools import partial
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_REASON_BYTES = 123  # RFC 6455 section 5.5: 125 bytes, including two for the code


class CloseCodeMiddleware:
    """ASGI middleware that makes all WebSocket close codes work under Daphne. It has no effect under other servers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protocol = _daphne_protocol(send)
        await self.app(scope, receive, partial(_send, protocol, send) if protocol is not None else send)


async def _send(protocol: Any, send: Send, message: Message) -> None:
    if message["type"] == "websocket.close" and protocol.state == protocol.STATE_OPEN:
        reason = message.get("reason", "").encode()[:MAX_REASON_BYTES].decode(errors="ignore")  # no character is cut in two
        protocol.sendCloseFrame(code=message.get("code", 1000), reasonUtf8=reason.encode() or None)
    else:
        await send(message)


def _daphne_protocol(send: Send) -> Any:
    # Daphne's `send` is partial(Server.handle_reply, protocol). Middleware may have wrapped it: partial(function, send, …).
    wrapped: Any = send
    while isinstance(wrapped, partial) and wrapped.args:
        wrapped = wrapped.args[0]
        if hasattr(wrapped, "sendCloseFrame"):
            return wrapped
    return None
