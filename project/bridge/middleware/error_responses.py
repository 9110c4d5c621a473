"""Responses for requests that middleware rejects before Django or FastAPI. Clients must not cache these responses."""

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

NO_STORE = {"Cache-Control": "no-store"}


def error_response(status: int, detail: str, code: str) -> JSONResponse:
    """Return a response with the same format as FastAPI's own errors, plus a machine-readable `code`."""
    return JSONResponse({"detail": detail, "code": code}, status, NO_STORE)


async def reject_websocket(_scope: Scope, receive: Receive, send: Send) -> None:
    """Reject a WebSocket handshake with 403."""
    await receive()
    await send({"type": "websocket.close"})
