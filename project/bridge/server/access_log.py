"""Access log through Python's `logging`, so that its lines have the format and the fields of all other log lines.

Daphne's own access log writes lines in NCSA's format to a file or to stdout.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

AccessLogger = Callable[[str, str, Mapping[str, Any]], None]


def log_access(protocol: str, action: str, details: Mapping[str, Any]) -> None:
    """Log a complete response, or a WebSocket that connects, is rejected or disconnects. Has the interface of Daphne's logger."""
    if protocol == "http" and action == "complete":
        extra = {
            "method": details["method"],
            "path": details["path"],
            "status_code": details["status"],
            "response_bytes": details["size"],
            "seconds": round(details["time_taken"], 4),
        }
        logger.info("%s %s %s", details["method"], details["path"], details["status"], extra=extra)
    elif protocol == "websocket" and action != "connecting":
        logger.info("WebSocket %s %s", details["path"], action, extra={"path": details["path"], "websocket": action})


def select_access_logger(daphnes_logger: Any, own_logger: AccessLogger | None) -> Any:
    """Return our own logger instead of Daphne's access log on stdout. An access log in a file stays as it is."""
    is_on_stdout = getattr(daphnes_logger, "stream", None) is sys.stdout
    return own_logger if own_logger is not None and is_on_stdout else daphnes_logger


def with_client_address(details: Mapping[str, Any], address: str | None) -> dict[str, Any]:
    """Return the details with the client's address as the proxy told it. Without a proxy, they keep the address and the port."""
    peer = details.get("client")
    is_same = address is None or (peer is not None and str(peer).rpartition(":")[0] == address)
    return {**details, "client": peer if is_same else address}
