"""Parses the JSON of request bodies, without blocking other threads for long.

Python's JSON parser holds the GIL until it is done: 15 MB of `[[],[],…]` would stop the event loop for seconds, even if another
thread parses it. So the values are counted first, in small pieces, and a body with many values is parsed by the JSON module's
Python code, which lets other threads run. Both give the same result. Pure.
"""

import codecs
import json
import re
from collections.abc import Iterator
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]  # not in typeshed
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # not in typeshed

MAX_VALUES = 250_000  # in one body; every string, number, list and object counts, and every name of a field
MAX_VALUES_AT_ONCE = 5_000  # parsed without letting other threads run
MAX_NUMBER_LENGTH = 100  # digits; the time to parse an integer is quadratic
PIECE_BYTES = 256 * 1024

# The lookbehind lets a match start only at the first digit. Otherwise, many shorter numbers would take quadratic time.
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_NUMBER_LENGTH + 1))


class JsonTooComplex(ValueError):
    """The JSON has too many values, or a number that is too long."""


def parse_json(body: bytes) -> object:
    """Return the value of a JSON text in UTF-8.

    Raises `JsonTooComplex`, or what `json.loads` raises: `ValueError` (also in the form of `json.JSONDecodeError` and
    `UnicodeDecodeError`) and `RecursionError`.
    """
    count = count_values(body)
    text = _decode(body)
    return json.loads(text) if count <= MAX_VALUES_AT_ONCE else _InterruptibleDecoder().decode(text)


def count_values(body: bytes) -> int:
    """Return an upper bound of the number of values in a JSON text. Raises `JsonTooComplex`."""
    count, in_string = 0, False
    for piece in _pieces(body):
        unescaped = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        quotes = unescaped.count(b'"')
        _check(count + quotes // 2)  # before the split, which makes an object for each string
        outside = b"".join(unescaped.split(b'"')[1 if in_string else 0 :: 2])
        in_string ^= quotes % 2 == 1
        count += sum(map(outside.count, (b",", b":", b"[", b"{")))
        _check(count)
        if _LONG_NUMBER.search(outside):
            raise JsonTooComplex(f"A number has more than {MAX_NUMBER_LENGTH} digits.")
    return count + 1


def _check(count: int) -> None:
    if count >= MAX_VALUES:
        raise JsonTooComplex(f"The body has more than {MAX_VALUES} values.")


def _pieces(body: bytes) -> Iterator[bytes]:
    """Yield the body in pieces that do not end within an escape sequence."""
    start = 0
    while start < len(body):
        end = start + PIECE_BYTES
        piece = body[start:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = body[start : end + 1]
        yield piece
        start += len(piece)


def _decode(body: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    starts = range(0, len(body), PIECE_BYTES)
    return "".join([decoder.decode(body[start : start + PIECE_BYTES]) for start in starts]) + decoder.decode(b"", final=True)


class _InterruptibleDecoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.parse_object, self.parse_array = JSONObject, JSONArray
        self.scan_once = py_make_scanner(self)
