"""The answers to what is not let through, before either half sees it. None of them is to be kept."""

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

NO_STORE = {"Cache-Control": "no-store"}


def error_response(status: int, detail: str, code: str) -> JSONResponse:
    """An answer in the shape of FastAPI's own errors, with a code for programs."""
    return JSONResponse({"detail": detail, "code": code}, status, NO_STORE)


async def reject_websocket(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket handshake with 403."""
    await receive()
    await send({"type": "websocket.close"})
