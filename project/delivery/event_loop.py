"""The event loop of processes that only deliver."""

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if uvloop is installed, otherwise None. For `asyncio.Runner`."""
    try:
        import uvloop  # has no build for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
