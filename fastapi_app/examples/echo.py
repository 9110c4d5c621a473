"""WebSocket: what is said comes back."""

from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect, status

from fastapi_app.rate_limit import client_network
from project.limits.connection_slots import TooManyConnections, connection_slot

MAX_MESSAGE_BYTES = 64 * 1024  # bytes of UTF-8


async def echo(websocket: WebSocket) -> None:
    """Echo each text until the client leaves, or says something that is not a text or too long."""
    await websocket.accept()
    with suppress(WebSocketDisconnect):  # it may leave before its echo
        try:
            with connection_slot(client_network(websocket)):
                await _echo_all(websocket)
        except TooManyConnections as refusal:
            await websocket.close(status.WS_1013_TRY_AGAIN_LATER, refusal.detail)


async def _echo_all(websocket: WebSocket) -> None:
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            await websocket.close(status.WS_1003_UNSUPPORTED_DATA, "This socket echoes texts.")
            return
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            await websocket.close(status.WS_1009_MESSAGE_TOO_BIG, f"A text has up to {MAX_MESSAGE_BYTES} bytes.")
            return
        await websocket.send_text(f"Message text was: {text}")
