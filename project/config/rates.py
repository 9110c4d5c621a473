"""How often something may happen, as a setting has it: `600/minute`, or `off`. Pure."""

from limits import RateLimitItem, parse

UNLIMITED = "off"


def parse_rate(text: str) -> RateLimitItem | None:
    """The rate, or None for `off`. Raises ValueError, which says why."""
    if text == UNLIMITED:
        return None
    try:
        rate = parse(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount == 0:
        raise ValueError(f"{text!r} is no rate: it is a number, / and second, minute, hour or day, such as 600/minute")
    return rate
