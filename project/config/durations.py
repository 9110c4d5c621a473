"""Parses durations such as `5m` in settings and command-line options. Pure functions, no I/O."""

import re
from datetime import timedelta

DEFAULT_RETRY_DELAYS: tuple[timedelta, ...] = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
MAX_RETRY_DELAY = timedelta(days=30)
MAX_DURATION = timedelta(days=36_500)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_durations(text: str) -> tuple[timedelta, ...]:
    """Return retry delays from a text such as `1m,5m,1h,1d`, or an empty tuple from an empty text. Raises `ValueError`."""
    delays = (parse_duration(each.strip(), noun="delay", maximum=MAX_RETRY_DELAY) for each in text.split(","))
    return tuple(delays) if text.strip() else ()


def parse_duration(text: str, *, noun: str = "duration", maximum: timedelta = MAX_DURATION) -> timedelta:
    """Return the duration for a text such as `90d`. Raises `ValueError`, with a message that calls the value a `noun`."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a {noun}: use a whole number and s, m, h or d, such as 5m")
    duration = timedelta(**{UNITS[match[2]]: int(match[1])})
    if duration > maximum:
        raise ValueError(f"{text!r} is longer than {maximum.days} days")
    return duration
