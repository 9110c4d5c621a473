"""Removes email addresses and API keys from log lines, for when email leaves this machine."""

import logging
import re

_ADDRESS_CHARACTER = r"[^\s<>\"'(),;:=/]"
# The @ sign; in a path it is percent-encoded once or more, or quoted by Django's admin as _40.
_AT = r"(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))"
# The lookbehind lets a match start only at the start of a word: otherwise a long word would take quadratic time.
_ADDRESS = re.compile(f"(?<!{_ADDRESS_CHARACTER}){_ADDRESS_CHARACTER}+{_AT}{_ADDRESS_CHARACTER}+", re.IGNORECASE)
_API_KEY = re.compile(r"mr_[\w-]+")  # clients put keys in a path or a Host header by mistake


class RedactingFormatter(logging.Formatter):
    """Formats a log line and its traceback without email addresses and API keys. Lines at DEBUG level are not redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the whole record first, because the text of an exception may contain an address too."""
        line = super().format(record)
        return line if record.levelno <= logging.DEBUG else _API_KEY.sub("mr_…", _ADDRESS.sub("…@…", line))
