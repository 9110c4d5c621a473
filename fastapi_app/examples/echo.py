"""WebSocket: echoes each text message."""

from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect, status

from fastapi_app.rate_limit import client_network, enforce_caller_limit
from project.errors import RetryLater
from project.limits.connection_slots import connection_slot

MAX_MESSAGE_BYTES = 64 * 1024  # in UTF-8


async def echo(websocket: WebSocket) -> None:
    """Echo text messages until the client disconnects, or sends a binary or oversized message (close codes 1003 and 1009)."""
    await websocket.accept()
    with suppress(WebSocketDisconnect):  # the client may disconnect before its echo
        try:
            await enforce_caller_limit(websocket, None)
            with connection_slot(client_network(websocket)):
                await _echo_all(websocket)
        except RetryLater as error:
            await websocket.close(status.WS_1013_TRY_AGAIN_LATER, error.detail)


async def _echo_all(websocket: WebSocket) -> None:
    while (message := await websocket.receive())["type"] == "websocket.receive":
        await enforce_caller_limit(websocket, None)
        text = message.get("text")
        if text is None:
            await websocket.close(status.WS_1003_UNSUPPORTED_DATA, "Only text messages are echoed.")
            return
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            await websocket.close(status.WS_1009_MESSAGE_TOO_BIG, f"The message is larger than {MAX_MESSAGE_BYTES} bytes.")
            return
        await websocket.send_text(f"Message text was: {text}")
