"""How often somebody may call, and how many mails a key may send a day.

Calls are counted in this process, or in Redis if there are several; mails in the database.
"""

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
REDIS_TIMEOUT_SECONDS = 1.0  # seconds

logger = logging.getLogger(__name__)


class RateLimited(RetryLater):
    """Somebody calls too often."""

    code = "rate_limited"


@dataclass(frozen=True)
class RateLimitStatus:
    """What is left of a rate, until it begins anew in `reset` seconds."""

    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """As clients are told (draft-ietf-httpapi-ratelimit-headers-07)."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


async def hit(kind: CallerKind, name: str) -> RateLimitStatus | None:
    """Count a call of one of a kind. Gives what is left, or None if calls of this kind have no limit. Raises `RateLimited`."""
    rate = settings.RATE_LIMITS[kind]
    if rate is None:
        return None
    for limiter in _limiters(get_running_loop(), settings.REDIS_URL):
        try:
            return await _hit_limiter(limiter, rate, kind, name)
        except StorageError as error:
            logger.warning("Calls are counted by each process for itself: %s", error)
    raise AssertionError("the memory is always there")


async def _hit_limiter(limiter: FixedWindowRateLimiter, rate: RateLimitItem, kind: CallerKind, name: str) -> RateLimitStatus:
    allowed = await limiter.hit(rate, kind, name)
    stats = await limiter.get_window_stats(rate, kind, name)
    left = RateLimitStatus(rate.amount, stats.remaining, max(0, ceil(stats.reset_time - time())))
    if not allowed:
        raise RateLimited(f"Too many calls: there may be {rate}.", retry_after=left.reset, headers=left.headers)
    return left


@lru_cache(maxsize=1)  # connections belong to a loop, and a process has one
def _limiters(_loop: AbstractEventLoop, redis_url: str | None) -> list[FixedWindowRateLimiter]:
    """To be tried in order: Redis, if there is one, and this process's memory while it cannot be reached."""
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
