"""The process's limit of open files (RLIMIT_NOFILE), which also limits its connections."""

import logging
import resource
import time
from typing import Any

from twisted.logger import globalLogPublisher

logger = logging.getLogger(__name__)

MIN_CONNECTIONS = 16
RESERVED_FILES = 32  # and another quarter of the limit: the database, Redis, static files, and the bodies of large requests
LOG_INTERVAL_SECONDS = 60.0
_ACCEPT_NAMESPACE = "twisted.internet.tcp"
_ACCEPT_FAILURES = ("EMFILE encountered;", "Could not accept new connection")


def raise_open_files_limit() -> int:
    """Raise the soft limit of open files to the hard limit, if the system allows it. Return the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS reports an unlimited hard limit, but refuses to set it
        return soft
    return hard


def max_connections(open_files: int) -> int:
    """Return how many connections a server may have open, so that enough files are left for everything else."""
    return max(MIN_CONNECTIONS, open_files * 3 // 4 - RESERVED_FILES)


class LogThrottle:
    """Lets one log line pass per `LOG_INTERVAL_SECONDS`, because a flood of connections must not become a flood of lines."""

    def __init__(self) -> None:
        self._next = 0.0

    def passes(self) -> bool:
        """Return whether to write a line now."""
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + LOG_INTERVAL_SECONDS
        return True


def log_accept_failures() -> None:
    """Log when the system refuses to accept connections. Daphne discards Twisted's own messages about it."""
    throttle = LogThrottle()

    def observe(event: Any) -> None:
        text = event.get("log_format") or ""
        namespace = event.get("log_namespace") or ""
        if namespace.startswith(_ACCEPT_NAMESPACE) and text.startswith(_ACCEPT_FAILURES) and throttle.passes():
            soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            logger.error(
                "Cannot accept connections (%s). The limit of open files is %d.", event.get("acceptError", "EMFILE"), soft
            )

    globalLogPublisher.addObserver(observe)
