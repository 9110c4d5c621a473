"""Crash limits: when an email is tried again after a worker died or stopped while sending it. Pure.

A crash uses up no attempt, because the relay did not reject the email. But an email that makes each worker crash must neither
stop the queue nor be retried forever. So it waits after each crash, and crashes have a limit of their own.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

MAX_CRASHES = 5  # high enough that a machine that kills its workers for a minute or two does not fail innocent emails
CRASH_DELAYS: Sequence[timedelta] = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 30, 60))
CRASH_ERROR = "The delivery worker stopped or was killed while it sent this email."
TOO_MANY_CRASHES_ERROR = (
    f"{MAX_CRASHES} delivery workers in a row stopped or were killed while they sent this email. It is not tried again."
)


def next_attempt_after_crash(crashes: int, *, now: datetime) -> datetime | None:
    """Return when to try again after crash number `crashes` in a row, or None if that was one too many.

    Raises `ValueError` if `crashes` is below 1.
    """
    if crashes < 1:
        raise ValueError(f"crashes must be at least 1, not {crashes}")
    return now + CRASH_DELAYS[crashes - 1] if crashes < MAX_CRASHES else None
