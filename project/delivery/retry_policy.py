"""What a failed try means, and when the next one is due. Pure: the caller brings the time and the dice."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from project.config.durations import DEFAULT_RETRY_DELAYS

JITTER = 0.1  # of a delay, to either side: mails that failed together do not come back together

MIN_PAUSE = timedelta(seconds=5)
MAX_PAUSE = timedelta(minutes=5)
MAX_DOUBLINGS = 6  # from the shortest pause past the longest; more would overflow after a weekend


def next_attempt(
    *,
    attempts: int,
    now: datetime,
    delays: Sequence[timedelta] = DEFAULT_RETRY_DELAYS,
    asked: timedelta | None = None,
    jitter: float,
) -> datetime | None:
    """When to try again after the `attempts`-th try failed in a way that may pass, or None if it has had its chances.

    `jitter` in [0, 1) moves the delay by up to a tenth to either side, never before what the relay `asked` for.
    Raises ValueError for fewer than one attempt, or a jitter out of its range.
    """
    if attempts < 1 or not 0 <= jitter < 1:
        raise ValueError(f"No {attempts}-th try with a jitter of {jitter}")
    if attempts > len(delays):
        return None
    delay = delays[attempts - 1] * (1 - JITTER + 2 * JITTER * jitter)
    return now + max(delay, asked or timedelta())


def pause_after(failures: int, *, now: datetime) -> datetime:
    """When to probe a relay that was wrong `failures` times in a row: in 5 s, doubling up to 5 min.

    Raises ValueError for fewer than one failure.
    """
    if failures < 1:
        raise ValueError(f"No pause after {failures} failures")
    return now + min(MIN_PAUSE * (1 << min(failures - 1, MAX_DOUBLINGS)), MAX_PAUSE)
