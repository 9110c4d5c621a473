"""Lines of the log that name nobody, for when mail leaves this machine."""

import logging
import re

# In a path it is quoted, and by Django's admin in a way of its own.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:=/]+(?:@|%40|_40)[^\s<>\"'(),;:=/]+")


class AddressFree(logging.Formatter):
    """A line with its traceback, in which nothing is left of the form a@b. DEBUG is for who asks, and keeps all."""

    def format(self, record: logging.LogRecord) -> str:
        """As always, and then without addresses: an exception's text may hold one, whoever raised it."""
        line = super().format(record)
        return line if record.levelno <= logging.DEBUG else _ADDRESS.sub("…@…", line)
