"""Ends a stream of events quietly when its client has left.

FastAPI passes the events of a stream from one task to another. If the client leaves while an event is on its way, the first task
fails with `BrokenResourceError`, which would be logged with a traceback although nothing is wrong.
"""

import logging

from anyio import BrokenResourceError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class ClientGoneMiddleware:
    """ASGI middleware that ends a request whose client left during the response. All other errors are raised."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except* BrokenResourceError as error:
            if not has_started:
                raise
            logger.debug("A client left during its response", exc_info=error)
