"""Parses rate limits such as `600/minute` or `off` in settings. Pure functions, no I/O."""

from limits import RateLimitItem, parse

UNLIMITED = "off"


def parse_rate(text: str) -> RateLimitItem | None:
    """Return the rate limit, or None for `off`. Raises `ValueError` with the reason."""
    if text == UNLIMITED:
        return None
    try:
        rate = parse(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount == 0:
        raise ValueError(f"{text!r} is not a rate: use a number, / and second, minute, hour or day, such as 600/minute")
    return rate
