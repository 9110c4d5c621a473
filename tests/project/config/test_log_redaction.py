"""What is left of a line of the log."""

import logging
import sys

import pytest

from project.config.log_redaction import RedactingFormatter


def line(level: int, text: str, *arguments: object) -> str:
    """As it is written."""
    return RedactingFormatter("%(message)s").format(logging.LogRecord("project", level, __file__, 1, text, arguments, None))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("To Ada <ada@example.com>, now", "To Ada <…@…>, now"),
        ("(address)=(ada+x@example.com) exists", "(address)=(…@…) exists"),
        ("Not Found: /people/ada%40example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada_40example.com/change/", "Not Found: /people/…@…/change/"),
        ("Not Found: /people/ada%2540example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada%252540example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada＠example.com/", "Not Found: /people/…@…/"),
        ("Not Found: /people/ada%ef%bc%a0example.com/", "Not Found: /people/…@…/"),
        ("smtp://ada:pw@relay:25", "smtp://ada:…@…:25"),
        ("Email 01a20ca0-bbd2 is sent", "Email 01a20ca0-bbd2 is sent"),
    ],
)
def test_addresses_are_left_out(text: str, left: str) -> None:
    assert line(logging.ERROR, text) == left


@pytest.mark.parametrize("text", ["Not Found: /nope/{}", "Invalid HTTP_HOST header: '{}'. You may", "GET /{}/x"])
def test_keys_are_left_out(text: str) -> None:
    assert line(logging.WARNING, text.format("mr_0123456789ab_s3cr-t_K3Y")) == text.format("mr_…")


def test_a_long_word_takes_no_time() -> None:
    assert line(logging.INFO, "a" * 200_000) == "a" * 200_000


def test_addresses_among_the_arguments_are_left_out() -> None:
    assert line(logging.INFO, "To %s", "ada@example.com") == "To …@…"


def test_an_exceptions_addresses_are_left_out() -> None:
    try:
        raise ValueError("ada@example.com is no good")
    except ValueError:
        record = logging.LogRecord("project", logging.ERROR, __file__, 1, "It failed", (), sys.exc_info())

    said = RedactingFormatter("%(message)s").format(record)

    assert "ValueError: …@… is no good" in said
    assert "ada@" not in said.replace('raise ValueError("ada@', "")  # the source line, which nobody's mail gets into


def test_debug_keeps_all() -> None:
    assert line(logging.DEBUG, "To ada@example.com") == "To ada@example.com"
