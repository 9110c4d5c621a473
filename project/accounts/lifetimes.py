"""How long a key or an old secret is good, as a command line has it: `90d`, `24h`. Pure."""

import re
from datetime import timedelta

from project.delays import UNITS


def parse_lifetime(text: str) -> timedelta:
    """The time that it names. Raises ValueError, which says why."""
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no time: it is a whole number and s, m, h or d, such as 90d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
