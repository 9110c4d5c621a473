"""Queries that may fail: the next sweep of any worker repairs the state that could not be stored."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from project.bridge.database.transactions import run_in_transaction

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_end_at: ContextVar[float | None] = ContextVar("_end_at", default=None)  # on the monotonic clock; None means no limit


@contextmanager
def limited_query_time(seconds: float) -> Iterator[None]:
    """Give all optional queries of this context `seconds` together: a shutdown must not wait for a database that is silent."""
    token = _end_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _end_at.reset(token)


async def try_query(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Run `function` in a transaction. If it fails or takes too long, log the error and return None."""
    end_at = _end_at.get()
    try:
        async with asyncio.timeout(None if end_at is None else max(0.0, end_at - time.monotonic())):
            return await run_in_transaction(function, *args, **kwargs)
    except TimeoutError:
        logger.error("The delivery worker stops without %s, because the database is too slow", function.__name__)  # noqa: TRY400
    except Exception:
        logger.exception("The delivery worker could not run %s", function.__name__)
    return None
