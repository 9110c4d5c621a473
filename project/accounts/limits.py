"""How often somebody may call, and how many mails a key may send a day.

Calls are counted in this process, or in Redis if there are several; mails in the database.
"""

import logging
from asyncio import AbstractEventLoop, get_running_loop
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from math import ceil
from time import time
from typing import Literal

from django.conf import settings
from django.db.models import F
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from project.accounts.models import ApiKey
from project.errors import Refusal

Kind = Literal["key", "user", "anonymous", "login"]
REDIS_PATIENCE = 1.0  # seconds

logger = logging.getLogger(__name__)


class TryLater(Refusal):
    """It may be done, but not now. Subclasses give the `code`."""

    code = "try_later"

    def __init__(self, detail: str, *, retry_after: float, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.seconds = max(1, ceil(retry_after))
        self.headers = {"Retry-After": str(self.seconds), **(headers or {})}


class RateLimited(TryLater):
    """Somebody calls too often."""

    code = "rate_limited"


class QuotaExceeded(TryLater):
    """A key has sent what it may send today."""

    code = "quota_exceeded"


@dataclass(frozen=True)
class Allowance:
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


async def count_call(kind: Kind, name: str) -> Allowance | None:
    """Count a call of one of a kind. Gives what is left, or None if calls of this kind have no limit. Raises `RateLimited`."""
    rate = settings.RATE_LIMITS[kind]
    if rate is None:
        return None
    for limiter in _limiters(get_running_loop(), settings.REDIS_URL):
        try:
            return await _count(limiter, rate, kind, name)
        except StorageError as error:
            logger.warning("Calls are counted by each process for itself: %s", error)
    raise AssertionError("the memory is always there")


def count_mails(key_id: int, mails: int, *, now: datetime) -> None:
    """Count mails against the daily quota of a key, in the transaction that stores them; a key without one has no limit.

    Days are those of UTC. Raises `QuotaExceeded`, and then none is counted.
    """
    keys = ApiKey.objects.filter(pk=key_id, daily_quota__isnull=False)
    keys.exclude(quota_day=now.date()).update(quota_day=now.date(), quota_used=0)
    # One statement decides and counts: who comes at the same moment waits for the row, and finds it counted.
    if keys.filter(quota_used__lte=F("daily_quota") - mails).update(quota_used=F("quota_used") + mails):
        return
    key = keys.first()
    if key is None or key.daily_quota is None:
        return
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    raise QuotaExceeded(
        f"This API key may send {key.daily_quota} mails a day, and has sent {key.quota_used} today.",
        retry_after=(tomorrow - now).total_seconds(),
    )


async def _count(limiter: FixedWindowRateLimiter, rate: RateLimitItem, kind: Kind, name: str) -> Allowance:
    allowed = await limiter.hit(rate, kind, name)
    stats = await limiter.get_window_stats(rate, kind, name)
    left = Allowance(rate.amount, stats.remaining, max(0, ceil(stats.reset_time - time())))
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
        socket_timeout=REDIS_PATIENCE,
        socket_connect_timeout=REDIS_PATIENCE,
    )
    return [FixedWindowRateLimiter(redis), FixedWindowRateLimiter(memory)]
