"""Which requests have no trace: probes and scrapes, of which there are thousands, and WebSockets, which stay open for hours."""

from collections.abc import MutableMapping
from typing import Any

UNTRACED_PATHS = frozenset({"/api/health/live", "/api/health/ready", "/api/metrics"})


def is_not_traced(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a request or a WebSocket has no trace."""
    return scope["type"] != "http" or scope["path"] in UNTRACED_PATHS
