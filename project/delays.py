"""RETRY_DELAYS: how long to wait between the tries of a mail. Pure."""

import re
from datetime import timedelta

DELAYS: tuple[timedelta, ...] = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
LONGEST_DELAY = timedelta(days=30)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_delays(text: str) -> tuple[timedelta, ...]:
    """The delays that a setting names, such as `1m,5m,1h,1d`; none, and so no second try, if it is empty.

    Raises ValueError, which says why.
    """
    return tuple(_delay(each.strip()) for each in text.split(",")) if text.strip() else ()


def _delay(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no delay: it is a whole number and s, m, h or d, such as 5m")
    delay = timedelta(**{UNITS[match[2]]: int(match[1])})
    if delay > LONGEST_DELAY:
        raise ValueError(f"{text!r} is longer than {LONGEST_DELAY.days} days")
    return delay
