"""Retry times: the next attempt for one email, and the next probe of an unavailable relay.

Pure: the caller passes the current time and the random number.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from project.config.durations import DEFAULT_RETRY_DELAYS

JITTER = 0.1  # fraction of a delay, in both directions, so that emails that failed together are not retried together

MIN_PAUSE = timedelta(seconds=5)
MAX_PAUSE = timedelta(minutes=5)
MAX_DOUBLINGS = 6  # enough to get from MIN_PAUSE past MAX_PAUSE; without a limit the back-off overflows after days of failures


def next_attempt(
    *,
    attempts: int,
    now: datetime,
    delays: Sequence[timedelta] = DEFAULT_RETRY_DELAYS,
    requested_delay: timedelta | None = None,
    jitter: float,
) -> datetime | None:
    """Return when to retry after attempt number `attempts` failed temporarily, or None if all delays are used up.

    `jitter` in [0, 1) moves the delay by up to 10 % in both directions, but never below the `requested_delay` of the relay.
    Raises `ValueError` if `attempts` is below 1 or `jitter` is out of range.
    """
    if attempts < 1 or not 0 <= jitter < 1:
        raise ValueError(f"attempts must be at least 1 and jitter in [0, 1), not {attempts} and {jitter}")
    if attempts > len(delays):
        return None
    delay = delays[attempts - 1] * (1 - JITTER + 2 * JITTER * jitter)
    return now + max(delay, requested_delay or timedelta())


def pause_after(failures: int, *, now: datetime) -> datetime:
    """Return when to probe the relay after `failures` consecutive failures: exponential back-off from 5 s up to 5 min.

    Raises `ValueError` if `failures` is below 1.
    """
    if failures < 1:
        raise ValueError(f"failures must be at least 1, not {failures}")
    return now + min(MIN_PAUSE * (1 << min(failures - 1, MAX_DOUBLINGS)), MAX_PAUSE)
