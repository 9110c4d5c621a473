"""Redaction of log lines."""

import logging
import sys

import pytest

from project.config.log_redaction import RedactingFormatter


def formatted(level: int, text: str, *arguments: object) -> str:
    """Return the log line that the formatter writes for a record."""
    return RedactingFormatter("%(message)s").format(logging.LogRecord("project", level, __file__, 1, text, arguments, None))


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("To Ada <ada@example.com>, now", "To Ada <…@…>, now"),
        ("(address)=(ada+x@example.com) exists", "(address)=(…@…) exists"),
        ("Not Found: /people/ada%40example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada_40example.com/change/", "Not Found: /people/…@…/change/"),
        ("Not Found: /people/ada%2540example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada%252540example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada＠example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada%ef%bc%a0example.com/", "Not Found: /people/…@…/"),
        ('To <"a..b c"@docomo.ne.jp>: "Hi"', 'To <…@…>: "Hi"'),
        ("smtp://ada:pw@relay:25", "smtp://ada:…@…:25"),
        ("Email 01a20ca0-bbd2 is sent", "Email 01a20ca0-bbd2 is sent"),
    ],
)
def test_removes_email_addresses(text: str, redacted: str) -> None:
    assert formatted(logging.ERROR, text) == redacted


@pytest.mark.parametrize("text", ["Not Found: /nope/{}", "Invalid HTTP_HOST header: '{}'. You may", "GET /{}/x"])
def test_removes_api_keys(text: str) -> None:
    assert formatted(logging.WARNING, text.format("mr_0123456789ab_s3cr-t_K3Y")) == text.format("mr_…")


def test_a_long_word_takes_linear_time() -> None:
    assert formatted(logging.INFO, "a" * 200_000) == "a" * 200_000


def test_removes_addresses_from_arguments() -> None:
    assert formatted(logging.INFO, "To %s", "ada@example.com") == "To …@…"


def test_removes_addresses_from_tracebacks() -> None:
    try:
        raise ValueError("ada@example.com is no good")
    except ValueError:
        record = logging.LogRecord("project", logging.ERROR, __file__, 1, "It failed", (), sys.exc_info())

    line = RedactingFormatter("%(message)s").format(record)

    assert "ValueError: …@… is no good" in line
    assert "ada@" not in line.replace('raise ValueError("ada@', "")  # the traceback contains this source line of the test


def test_debug_lines_are_not_redacted() -> None:
    assert formatted(logging.DEBUG, "To ada@example.com") == "To ada@example.com"
