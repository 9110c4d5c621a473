"""Rate limits. Requests are counted in Redis if it is configured, else together with the other processes of the supervisor.

A process without either, and a process that cannot use them, counts alone.
"""

import logging
import sqlite3
from asyncio import AbstractEventLoop, get_running_loop, timeout
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from time import monotonic, time
from typing import Literal

from django.conf import settings
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from project.errors import RetryLater
from project.limits.memory_storage import BoundedMemoryStorage
from project.limits.shared_storage import SharedStorage

CallerKind = Literal["key", "user", "anonymous", "login"]
REDIS_TIMEOUT_SECONDS = 1.0  # for all commands of one request
RETRY_INTERVAL_SECONDS = 5.0  # while the shared counters are unavailable

logger = logging.getLogger(__name__)


class RateLimited(RetryLater):
    """The caller has exceeded its rate limit."""

    code = "rate_limited"


@dataclass(frozen=True)
class RateLimitStatus:
    """A rate limit, and the requests that remain in the current window. The window ends in `reset` seconds."""

    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """Return the response headers of draft-ietf-httpapi-ratelimit-headers-07."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


async def hit(kind: CallerKind, name: str) -> RateLimitStatus | None:
    """Count one request of a caller. Return the limit's status, or None if callers of this kind have no limit.

    Raises `RateLimited`.
    """
    rate = settings.RATE_LIMITS[kind]
    if rate is None:
        return None
    limiters = _limiters(get_running_loop(), settings.REDIS_URL, settings.SHARED_COUNTERS)
    if limiters.shared is not None and limiters.breaker.may_try(monotonic()):
        try:
            async with timeout(REDIS_TIMEOUT_SECONDS):
                status = await _hit_limiter(limiters.shared, rate, kind, name)
        except (StorageError, TimeoutError) as error:
            limiters.breaker.record_failure(error)
        else:
            limiters.breaker.record_success()
            return _accept(status, rate)
    return _accept(await _hit_limiter(limiters.memory, rate, kind, name), rate)


class SharedCountersBreaker:
    """Circuit breaker for Redis and other shared counters.

    After a failure, requests are counted in memory, and one request per interval tries the shared counters.
    """

    def __init__(self, name: str) -> None:
        """`name` is what the log calls the shared counters, such as "Redis"."""
        self._name = name
        self._retry_at: float | None = None  # on the monotonic clock; None while the shared counters work

    def may_try(self, now: float) -> bool:
        """Return whether a request may use the shared counters. During an outage, this is one request per interval."""
        if self._retry_at is None:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_INTERVAL_SECONDS
        return True

    def record_failure(self, error: Exception) -> None:
        """Stop using the shared counters for an interval. The first failure of an outage is logged."""
        if self._retry_at is None:
            reason = str(error) or type(error).__name__
            logger.warning("%s is unavailable, so each process counts its requests alone: %s", self._name, reason)
        self._retry_at = monotonic() + RETRY_INTERVAL_SECONDS

    def record_success(self) -> None:
        """Use the shared counters again. The end of an outage is logged."""
        if self._retry_at is not None:
            logger.warning("%s is available again, so all processes count their requests together", self._name)
        self._retry_at = None


@dataclass(frozen=True)
class _Limiters:
    """The limiters, which count together with other processes, if possible, and in this process's memory."""

    shared: FixedWindowRateLimiter | None
    memory: FixedWindowRateLimiter
    breaker: SharedCountersBreaker


@dataclass(frozen=True)
class _Counted:
    is_allowed: bool
    status: RateLimitStatus


def _accept(counted: _Counted, rate: RateLimitItem) -> RateLimitStatus:
    if not counted.is_allowed:
        status = counted.status
        raise RateLimited(f"Too many requests. The limit is {rate}.", retry_after=status.reset, headers=status.headers)
    return counted.status


async def _hit_limiter(limiter: FixedWindowRateLimiter, rate: RateLimitItem, kind: CallerKind, name: str) -> _Counted:
    is_allowed = await limiter.hit(rate, kind, name)
    window = await limiter.get_window_stats(rate, kind, name)
    return _Counted(is_allowed, RateLimitStatus(rate.amount, window.remaining, max(0, ceil(window.reset_time - time()))))


@lru_cache(maxsize=1)  # connections belong to an event loop, and a process has one event loop
def _limiters(_loop: AbstractEventLoop, redis_url: str | None, shared_counters: Path | None) -> _Limiters:
    memory = FixedWindowRateLimiter(BoundedMemoryStorage())
    if redis_url is not None:
        return _Limiters(FixedWindowRateLimiter(_redis_storage(redis_url)), memory, SharedCountersBreaker("Redis"))
    breaker = SharedCountersBreaker("The database of shared counters")
    if shared_counters is not None:
        try:
            return _Limiters(FixedWindowRateLimiter(SharedStorage(shared_counters)), memory, breaker)
        except sqlite3.Error as error:
            breaker.record_failure(error)
    return _Limiters(None, memory, breaker)


def _redis_storage(redis_url: str) -> RedisStorage:
    return RedisStorage(
        f"async+{redis_url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="mailrail",
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
    )
