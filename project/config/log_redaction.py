"""Removes email addresses and secrets from log lines. Used unless the embedded mailbox stores all emails."""

import logging
import re

_ADDRESS_CHARACTER = r"[^\s<>\"'(),;:=/]"
# The @ sign. In a URL path, it may be percent-encoded once or several times, or be quoted as _40 by Django's admin.
_AT = r"(?:[@＠﹫]|[%_](?:25)*40|%(?:25)*EF%(?:25)*(?:BC%(?:25)*A0|B9%(?:25)*AB))"
# The lookbehind lets a match start only at the start of a word: otherwise a long word would take quadratic time.
_LOCAL_PART = f'(?:(?<!{_ADDRESS_CHARACTER}){_ADDRESS_CHARACTER}+|"[^"\\n]{{1,64}}")'
_ADDRESS = re.compile(f"{_LOCAL_PART}{_AT}{_ADDRESS_CHARACTER}+", re.IGNORECASE)
_API_KEY = re.compile(r"mr_[\w-]+")  # clients sometimes put keys in a path or a Host header by mistake
_CREDENTIAL = re.compile(r"\b(Bearer|Basic) [\w.~+/-]{16,}=*", re.IGNORECASE)  # the value of an Authorization header


def redact(text: str) -> str:
    """Return a text without email addresses, API keys and values of Authorization headers."""
    return _CREDENTIAL.sub(r"\1 …", _API_KEY.sub("mr_…", _ADDRESS.sub("…@…", text)))


def is_redacted(record: logging.LogRecord) -> bool:
    """Return whether a record is redacted. Records at DEBUG level are not."""
    return record.levelno > logging.DEBUG


class RedactingFormatter(logging.Formatter):
    """Formats a log line and its traceback without email addresses and secrets. Lines at DEBUG level are not redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the redacted line. The record is formatted first, because an exception may contain an email address too."""
        line = super().format(record)
        return redact(line) if is_redacted(record) else line
