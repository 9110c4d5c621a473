"""Pieces of long texts. Pure.

A method of `str` or `bytes` holds the GIL until it returns. With a text of many megabytes, the event loop would wait for a method
that runs in another thread. Between two pieces, the event loop can run.
"""

from collections.abc import Iterator
from typing import AnyStr

PIECE_LENGTH = 128 * 1024  # characters or bytes


def pieces(text: AnyStr) -> Iterator[AnyStr]:
    """Yield the text in pieces of up to `PIECE_LENGTH`."""
    for start in range(0, len(text), PIECE_LENGTH):
        yield text[start : start + PIECE_LENGTH]
