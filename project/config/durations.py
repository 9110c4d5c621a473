"""Times as settings and command lines have them, such as `5m`; and the waits between the tries of a mail. Pure."""

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
    """The delays that a setting names, such as `1m,5m,1h,1d`; none, and so no second try, if it is empty.

    Raises ValueError, which says why.
    """
    delays = (parse_duration(each.strip(), called="delay", longest=MAX_RETRY_DELAY) for each in text.split(","))
    return tuple(delays) if text.strip() else ()


def parse_duration(text: str, *, called: str = "time", longest: timedelta = MAX_DURATION) -> timedelta:
    """The time that a text such as `90d` names. Raises ValueError, which says why."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no {called}: it is a whole number and s, m, h or d, such as 5m")
    time = timedelta(**{UNITS[match[2]]: int(match[1])})
    if time > longest:
        raise ValueError(f"{text!r} is longer than {longest.days} days")
    return time
