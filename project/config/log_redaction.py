"""Lines of the log that name nobody, for when mail leaves this machine."""

import logging
import re

_PIECE = r"[^\s<>\"'(),;:=/]"
# In a path it is quoted, once or more, and by Django's admin in a way of its own. From the start of a word on, lest a long one
# takes the square of its length.
_AT = r"(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))"
_ADDRESS = re.compile(f"(?<!{_PIECE}){_PIECE}+{_AT}{_PIECE}+", re.IGNORECASE)
_KEY = re.compile(r"mr_[\w-]+")  # an API key, where somebody put it in a path or a Host


class RedactingFormatter(logging.Formatter):
    """A line with its traceback, with nothing left of the form a@b, and no API key. DEBUG is for who asks, and keeps all."""

    def format(self, record: logging.LogRecord) -> str:
        """As always, and then without addresses and keys: an exception's text may hold one, whoever raised it."""
        line = super().format(record)
        return line if record.levelno <= logging.DEBUG else _KEY.sub("mr_…", _ADDRESS.sub("…@…", line))
