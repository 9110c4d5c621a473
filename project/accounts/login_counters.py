"""Counters of failed logins in the database. An attempt is counted before the password is checked.

If it was counted afterwards, parallel attempts would all be checked before the first of them is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Self

from django.db.models import F

from project.accounts.models import LoginCounter


@dataclass(frozen=True)
class AttemptLimit:
    """At most `limit` failed attempts. They are forgotten when no attempt was counted for the time `window`."""

    key: str
    limit: int
    window: timedelta

    @classmethod
    def of(cls, *subject: str, limit: int, window: timedelta) -> Self:
        """Return a limit for a subject, such as a username. Only a hash is stored, because a subject may be any input."""
        return cls(sha256("\n".join(subject).encode()).hexdigest(), limit, window)


@dataclass(frozen=True)
class AttemptStatus:
    """The result of counting an attempt. `retry_at` is set if the attempt is refused, or is the last one for now."""

    is_allowed: bool
    retry_at: datetime | None


def count_attempt(limits: Sequence[AttemptLimit], *, now: datetime) -> AttemptStatus:
    """Count an attempt against all limits. If one of them is reached, refuse the attempt and count it against none.

    Needs a transaction: the rows stay locked until its end, so parallel attempts are counted one after the other.
    """
    keys = sorted(limit.key for limit in limits)  # in a fixed order, to avoid deadlocks
    LoginCounter.objects.bulk_create(
        [LoginCounter(key=key, expires_at=now, attempted_at=now) for key in keys],
        update_conflicts=True,  # also locks the rows that exist
        unique_fields=["key"],
        update_fields=["attempted_at"],
    )
    counters = {counter.key: counter for counter in LoginCounter.objects.filter(key__in=keys)}
    for counter in counters.values():
        if counter.expires_at <= now:
            counter.failures = 0
    if reached := [counters[limit.key].expires_at for limit in limits if counters[limit.key].failures >= limit.limit]:
        return AttemptStatus(False, max(reached))
    for limit in limits:
        counters[limit.key].failures += 1
        counters[limit.key].expires_at = now + limit.window
    LoginCounter.objects.bulk_update(counters.values(), ["failures", "expires_at"])
    filled = [counters[limit.key].expires_at for limit in limits if counters[limit.key].failures >= limit.limit]
    return AttemptStatus(True, max(filled, default=None))


def forgive_attempt(limits: Sequence[AttemptLimit]) -> None:
    """Undo the counting of one attempt."""
    for key in sorted(limit.key for limit in limits):
        LoginCounter.objects.filter(key=key, failures__gt=0).update(failures=F("failures") - 1)


def reset_failures(limit: AttemptLimit) -> None:
    """Forget all failed attempts that were counted against the limit."""
    LoginCounter.objects.filter(key=limit.key).update(failures=0)
