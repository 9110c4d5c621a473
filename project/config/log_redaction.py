"""Removes email addresses and API keys from log lines. Used unless the embedded mailbox stores all emails."""

import logging
import re

_ADDRESS_CHARACTER = r"[^\s<>\"'(),;:=/]"
# The @ sign. In a URL path, it may be percent-encoded once or several times, or be quoted as _40 by Django's admin.
_AT = r"(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))"
# The lookbehind lets a match start only at the start of a word: otherwise a long word would take quadratic time.
_LOCAL_PART = f'(?:(?<!{_ADDRESS_CHARACTER}){_ADDRESS_CHARACTER}+|"[^"\\n]{{1,64}}")'
_ADDRESS = re.compile(f"{_LOCAL_PART}{_AT}{_ADDRESS_CHARACTER}+", re.IGNORECASE)
_API_KEY = re.compile(r"mr_[\w-]+")  # clients sometimes put keys in a path or a Host header by mistake


class RedactingFormatter(logging.Formatter):
    """Formats a log line and its traceback without email addresses and API keys. Lines at DEBUG level are not redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the redacted line. The record is formatted first, because an exception may contain an email address too."""
        line = super().format(record)
        return line if record.levelno <= logging.DEBUG else _API_KEY.sub("mr_…", _ADDRESS.sub("…@…", line))
