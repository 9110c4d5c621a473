"""Closes a WebSocket whose URL has an invalid query, with a reason."""

from typing import Any

from fastapi import WebSocket, status
from fastapi.exceptions import WebSocketRequestValidationError

MAX_REASON_BYTES = 123  # RFC 6455 section 5.5: 125 bytes, including two for the code


async def handle_websocket_validation_error(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
    """Close the WebSocket with the first problem as its reason: a close before the handshake could not give a reason."""
    problem = error.errors()[0]
    reason = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    await websocket.accept()
    await websocket.close(status.WS_1008_POLICY_VIOLATION, truncate_reason(reason))


def truncate_reason(reason: str) -> str:
    """Return the beginning of a close reason that fits into a close frame. No character is cut in two."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


WEBSOCKET_ERROR_HANDLERS: dict[int | type[Exception], Any] = {WebSocketRequestValidationError: handle_websocket_validation_error}
