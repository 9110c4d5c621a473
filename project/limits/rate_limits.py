"""Rate limits. Requests are counted in this process, or in Redis so that several processes share the counts."""

import logging
from asyncio import AbstractEventLoop, get_running_loop
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from time import time
from typing import Literal

from django.conf import settings
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from project.errors import RetryLater

CallerKind = Literal["key", "user", "anonymous", "login"]
REDIS_TIMEOUT_SECONDS = 1.0

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
    for limiter in _limiters(get_running_loop(), settings.REDIS_URL):
        try:
            return await _hit_limiter(limiter, rate, kind, name)
        except StorageError as error:
            logger.warning("Redis is unavailable, so this process counts its requests alone: %s", error)
    raise AssertionError("The in-memory limiter never fails.")


async def _hit_limiter(limiter: FixedWindowRateLimiter, rate: RateLimitItem, kind: CallerKind, name: str) -> RateLimitStatus:
    is_allowed = await limiter.hit(rate, kind, name)
    window = await limiter.get_window_stats(rate, kind, name)
    status = RateLimitStatus(rate.amount, window.remaining, max(0, ceil(window.reset_time - time())))
    if not is_allowed:
        raise RateLimited(f"Too many requests. The limit is {rate}.", retry_after=status.reset, headers=status.headers)
    return status


@lru_cache(maxsize=1)  # connections belong to an event loop, and a process has one event loop
def _limiters(_loop: AbstractEventLoop, redis_url: str | None) -> list[FixedWindowRateLimiter]:
    """Return the limiters, in the order in which they are tried: Redis, if configured, and then this process's memory."""
    memory = MemoryStorage()
    if redis_url is None:
        return [FixedWindowRateLimiter(memory)]
    redis = RedisStorage(
        f"async+{redis_url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="mailrail",
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
    )
    return [FixedWindowRateLimiter(redis), FixedWindowRateLimiter(memory)]
