"""Rate limits. Requests are counted in this process, or in Redis so that several processes share the counts."""

import logging
from asyncio import AbstractEventLoop, get_running_loop, timeout
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from time import monotonic, time
from typing import Literal

from django.conf import settings
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from project.errors import RetryLater
from project.limits.memory_storage import BoundedMemoryStorage

CallerKind = Literal["key", "user", "anonymous", "login"]
REDIS_TIMEOUT_SECONDS = 1.0  # for all commands of one request
REDIS_RETRY_INTERVAL_SECONDS = 5.0  # while Redis is unavailable

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
    limiters = _limiters(get_running_loop(), settings.REDIS_URL)
    if limiters.redis is not None and limiters.breaker.may_try(monotonic()):
        try:
            async with timeout(REDIS_TIMEOUT_SECONDS):
                status = await _hit_limiter(limiters.redis, rate, kind, name)
        except (StorageError, TimeoutError) as error:
            limiters.breaker.record_failure(error)
        else:
            limiters.breaker.record_success()
            return _accept(status, rate)
    return _accept(await _hit_limiter(limiters.memory, rate, kind, name), rate)


class RedisBreaker:
    """Circuit breaker for Redis: after a failure, requests are counted in memory, and one request per interval tries Redis."""

    def __init__(self) -> None:
        self._retry_at: float | None = None  # on the monotonic clock; None while Redis works

    def may_try(self, now: float) -> bool:
        """Return whether a request may use Redis. While Redis is unavailable, this is one request per interval."""
        if self._retry_at is None:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + REDIS_RETRY_INTERVAL_SECONDS
        return True

    def record_failure(self, error: Exception) -> None:
        """Stop using Redis for an interval. The first failure of an outage is logged."""
        if self._retry_at is None:
            reason = str(error) or type(error).__name__
            logger.warning("Redis is unavailable, so each process counts its requests alone: %s", reason)
        self._retry_at = monotonic() + REDIS_RETRY_INTERVAL_SECONDS

    def record_success(self) -> None:
        """Use Redis again. The end of an outage is logged."""
        if self._retry_at is not None:
            logger.warning("Redis is available again, so all processes count their requests together")
        self._retry_at = None


@dataclass(frozen=True)
class _Limiters:
    """The limiters, which count in Redis, if it is configured, and in this process's memory."""

    redis: FixedWindowRateLimiter | None
    memory: FixedWindowRateLimiter
    breaker: RedisBreaker


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
def _limiters(_loop: AbstractEventLoop, redis_url: str | None) -> _Limiters:
    memory, breaker = FixedWindowRateLimiter(BoundedMemoryStorage()), RedisBreaker()
    if redis_url is None:
        return _Limiters(None, memory, breaker)
    redis = RedisStorage(
        f"async+{redis_url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="mailrail",
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
    )
    return _Limiters(FixedWindowRateLimiter(redis), memory, breaker)
