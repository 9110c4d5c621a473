"""Parses the JSON of request bodies, without blocking other threads for long.

Python's JSON parser holds the GIL until it is done: 15 MB of `[[],[],…]` would stop the event loop for seconds, even if another
thread parses it. So the values are counted first, in small pieces, and a body that is large or has many values is parsed by the
JSON module's Python code, which lets other threads run. It reads long strings in pieces, and short objects at once. All ways give
the same result. Pure.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from json.decoder import (  # type: ignore[attr-defined]  # not in typeshed
    WHITESPACE,
    WHITESPACE_STR,
    JSONArray,
    JSONObject,
    scanstring,
)
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # not in typeshed
from types import FunctionType
from typing import Any

MAX_VALUES = 250_000  # in one body; every string, number, list and object counts, and every name of a field
MAX_VALUES_AT_ONCE = 5_000  # parsed without letting other threads run
MAX_BYTES_AT_ONCE = 1024 * 1024
MAX_OBJECT_LENGTH = 2 * MAX_VALUES_AT_ONCE  # characters of an object that is parsed at once; each value has at least two
MAX_FAILED_OBJECTS = 100  # objects of one body that were parsed in vain, because they are longer
MAX_NAME_LENGTH = 10_000  # characters of a field's name, in a body that is not parsed at once
MAX_NUMBER_LENGTH = 100  # digits; the time to parse an integer is quadratic
MAX_SHOWN_NAME_LENGTH = 100  # characters
PIECE_BYTES = 256 * 1024

# The lookbehind lets a match start only at the first digit. Otherwise, many shorter numbers would take quadratic time.
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_NUMBER_LENGTH + 1))
_DIGITS_TO_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_TOO_MANY_ZEROS = b"0" * (MAX_NUMBER_LENGTH + 1)
_REST_OF_STRING = re.compile(r'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STRING_CONTENT = re.compile(r'(?:[^"\\\x00-\x1f]++|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])*+')


class JsonTooComplex(ValueError):
    """The JSON has too many values, or a number that is too long."""


class DuplicateName(ValueError):
    """An object has two fields with the same name. One of them would silently win (RFC 8259 section 4)."""


def parse_json(body: bytes) -> object:
    """Return the value of a JSON text in UTF-8.

    Raises `JsonTooComplex` and `DuplicateName`, or what `json.loads` raises: `ValueError` (also in the form of
    `json.JSONDecodeError` and `UnicodeDecodeError`) and `RecursionError`.
    """
    is_short = len(body) <= MAX_BYTES_AT_ONCE
    has_many_values = has_more_values(body, MAX_VALUES_AT_ONCE if is_short else MAX_VALUES)
    text = _decode(body)
    if is_short and not has_many_values:
        return _decoder.decode(text)
    return _InterruptibleDecoder().decode(text, _skip_white_space)


def has_more_values(body: bytes, maximum: int) -> bool:
    """Return whether a JSON text has more than `maximum` values. Raises `JsonTooComplex`."""
    rough = _count_roughly(body)
    return (rough is None or rough > maximum) and count_values(body) > maximum


def _count_roughly(body: bytes) -> int | None:
    """Return an upper bound of the number of values, without leaving out the text of strings, which takes longer.

    Return None if a number, or a string, contains too many digits in a row.
    """
    count = 1
    for piece in _pieces(body):
        if _TOO_MANY_ZEROS in piece.translate(_DIGITS_TO_ZEROS):
            return None
        count += sum(map(piece.count, (b",", b":", b"[", b"{")))
    return count


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


def _build_object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(fields)
    if len(value) < len(fields):
        name = next(name for name, number in Counter(name for name, _ in fields).items() if number > 1)
        raise DuplicateName(f"An object has more than one field with the name {name[:MAX_SHOWN_NAME_LENGTH]!r}.")
    return value


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
    if len(body) <= PIECE_BYTES:
        return body.decode("utf-8-sig")
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    starts = range(0, len(body), PIECE_BYTES)
    return "".join([decoder.decode(body[start : start + PIECE_BYTES]) for start in starts]) + decoder.decode(b"", final=True)


def _skip_white_space(text: str, start: int) -> re.Match[str]:
    while True:
        match: re.Match[str] = WHITESPACE.match(text, start, start + PIECE_BYTES)
        if match.end() < start + PIECE_BYTES:
            return match
        start = match.end()


def _scan_name(text: str, start: int, strict: bool) -> tuple[str, int]:  # called by the JSON module
    """Return the name that starts after a quote, and the position of its end. Raises `JsonTooComplex`."""
    if not _REST_OF_STRING.match(text, start, start + MAX_NAME_LENGTH + 1) and len(text) - start > MAX_NAME_LENGTH:
        raise JsonTooComplex(f"The name of a field has more than {MAX_NAME_LENGTH} characters.")
    name: tuple[str, int] = scanstring(text, start, strict)
    return name


def _scan_string(text: str, start: int, strict: bool) -> tuple[str, int]:  # called by the JSON module
    """Return the string that starts after a quote, and the position of its end."""
    if _REST_OF_STRING.match(text, start, start + PIECE_BYTES):
        string: tuple[str, int] = scanstring(text, start, strict)
        return string
    decoded, high_surrogate = list[str](), ""  # the other half of a pair may be in the next piece
    while content := _STRING_CONTENT.match(text, start, start + PIECE_BYTES)[0]:  # type: ignore[index]  # matches always
        piece = scanstring(f'{high_surrogate}{content}"', 0, strict)[0]
        high_surrogate = f"\\u{ord(piece[-1]):04x}" if "\ud800" <= piece[-1] <= "\udbff" else ""
        decoded.append(piece[:-1] if high_surrogate else piece)
        start += len(content)
    rest, end = scanstring(text, start, strict)  # raises an error unless the string ends here
    return "".join([*decoded, json.loads(f'"{high_surrogate}"'), rest]), end


_decoder = json.JSONDecoder(object_pairs_hook=_build_object)
_scan_object = _decoder.scan_once  # type: ignore[attr-defined]  # not in typeshed

# The JSON module's own function, with another function for the names.
_parse_long_object = FunctionType(
    JSONObject.__code__,
    {**vars(json.decoder), "scanstring": _scan_name},
    argdefs=(None, _skip_white_space, WHITESPACE_STR),
)


class _InterruptibleDecoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_build_object)
        self.parse_object, self.parse_array = self._parse_object, partial(JSONArray, _w=_skip_white_space)
        self.parse_string = _scan_string
        self.scan_once = py_make_scanner(self)
        self._failed_objects = 0

    def _parse_object(self, text_and_start: tuple[str, int], *arguments: Any) -> tuple[Any, int]:  # called by the scanner
        """Return the object that starts before a position, and the position of its end."""
        text, start = text_and_start
        if self._failed_objects < MAX_FAILED_OBJECTS:
            try:
                value, length = _scan_object(text[start - 1 : start - 1 + MAX_OBJECT_LENGTH], 0)
            except (json.JSONDecodeError, StopIteration, RecursionError):  # too long, or invalid
                self._failed_objects += 1
            else:
                return value, start - 1 + length
        value_and_end: tuple[Any, int] = _parse_long_object(text_and_start, *arguments)
        return value_and_end
