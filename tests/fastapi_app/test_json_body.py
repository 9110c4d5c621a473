"""Parsing JSON: the same values as `json.loads`, and limits on what takes long."""

import json
from typing import Any

import pytest

from fastapi_app import json_body
from fastapi_app.json_body import (
    MAX_NAME_LENGTH,
    MAX_NUMBER_LENGTH,
    MAX_OBJECT_LENGTH,
    MAX_VALUES,
    MAX_VALUES_AT_ONCE,
    DuplicateName,
    JsonTooComplex,
    count_values,
    parse_json,
)

TRICKY: dict[str, Any] = {"a": ['x"y,[{:', "\\", {"ж": None, "": -1.5e3}], "t": "\\" * 1001, "u": '\\"'}


def parse_nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the body be parsed by Python's code, as if it and its objects were long."""
    monkeypatch.setattr(json_body, "MAX_BYTES_AT_ONCE", 0)
    monkeypatch.setattr(json_body, "MAX_FAILED_OBJECTS", 0)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 100_000])
def test_counts_values_and_ignores_the_text_of_strings(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_body, "PIECE_BYTES", piece)
    body = json.dumps(TRICKY, ensure_ascii=False).encode()

    assert count_values(body) == count_values(json.dumps({"a": ["", "", {"b": 0, "c": 0}], "t": "", "u": ""}).encode())
    assert parse_json(body) == TRICKY


def test_parses_a_body_with_many_values_to_the_same_value() -> None:
    value = {"list": [TRICKY, [], {}, True, 0.1, 10**50] * MAX_VALUES_AT_ONCE}

    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("failures", [0, 1, 1000])
def test_parses_short_and_long_objects_to_the_same_values(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    monkeypatch.setattr(json_body, "MAX_BYTES_AT_ONCE", 0)
    monkeypatch.setattr(json_body, "MAX_FAILED_OBJECTS", failures)
    long = {"a": [TRICKY] * 1000, "b": "x" * MAX_OBJECT_LENGTH, "c": TRICKY}
    value = {"list": [TRICKY, long, {}, TRICKY, {"long": long, "short": TRICKY}]}

    assert parse_json(json.dumps(value, indent=1).encode()) == value


@pytest.mark.parametrize("text", ['{"a": 1,}', "{'a': 1}", '{"a": {"b": nul}}', '{"a": [1}', '{"a": "\\x"}', '{"a": 1'])
def test_reports_the_position_of_an_error_in_an_object(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(json_body, "MAX_BYTES_AT_ONCE", 0)
    body = f'{{"list": [{{"ok": 1}}, {text}]}}'
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(body)

    with pytest.raises(json.JSONDecodeError) as error:
        parse_json(body.encode())

    assert (error.value.pos, error.value.msg) == (expected.value.pos, expected.value.msg)


LONG_STRINGS = ["plain", "ж\n", '\\"', "😀", "\x7f\t\\u", "\ud83d"]


@pytest.mark.parametrize("text", LONG_STRINGS)
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("piece", [13, 14, 15, 16, 17, 18])
def test_reads_a_long_string_in_pieces(monkeypatch: pytest.MonkeyPatch, text: str, is_ascii: bool, piece: int) -> None:
    monkeypatch.setattr(json_body, "PIECE_BYTES", piece)
    parse_nothing_at_once(monkeypatch)
    value = {"a": text * 200, "b" * 30: ["", "\\" * 99, text]}
    body = json.dumps(value, indent=40, ensure_ascii=is_ascii or text == "\ud83d").encode()

    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize("text", [r'"\x"', r'"\u12"', '"\x01"', '"', '"\\', '"a" 1', r'"\ud83d'])
def test_reports_an_error_in_a_long_string(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(json_body, "PIECE_BYTES", 16)
    parse_nothing_at_once(monkeypatch)

    with pytest.raises(json.JSONDecodeError):
        parse_json(f"{text[0]}{'a' * 50}{text[1:]}".encode())


@pytest.mark.parametrize("name", ["a", "ж", '\\"', "\\\\"])
def test_rejects_a_long_name_of_a_field(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    parse_nothing_at_once(monkeypatch)

    assert parse_json(f'{{"{"a" * MAX_NAME_LENGTH}": 1}}'.encode()) == {"a" * MAX_NAME_LENGTH: 1}
    with pytest.raises(JsonTooComplex):
        parse_json(f'{{"b": {{"{name * (MAX_NAME_LENGTH + 1)}": 1}}}}'.encode())


@pytest.mark.parametrize("text", ["", "[1,]", '{"a" 1}', "[1] 2", '{"a":1', "nul", '"\x01"', "[" * 50])
@pytest.mark.parametrize("padding", [0, MAX_VALUES_AT_ONCE])
def test_reports_the_same_error_as_the_json_module(text: str, padding: int) -> None:
    text = "[1," * padding + text if padding and text else text
    error: type[Exception] = RecursionError if padding and text else json.JSONDecodeError

    with pytest.raises(error):
        parse_json(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        f"[{'[],' * MAX_VALUES}[]]",
        f"[{'1,' * MAX_VALUES}1]",
        f"[{',' * MAX_VALUES}",
        "[" * MAX_VALUES,
        '{"":' * (MAX_VALUES // 2),
        f"[{'9' * (MAX_NUMBER_LENGTH + 1)}]",
        f"[1.{'9' * (MAX_NUMBER_LENGTH + 1)}]",
    ],
    ids=lambda text: f"{text[:4]}…",
)
def test_rejects_json_that_takes_long_to_parse(text: str) -> None:
    with pytest.raises(JsonTooComplex):
        parse_json(text.encode())


def test_accepts_many_digits_in_a_string() -> None:
    assert parse_json(f'{{"a": "{"9" * 1000}", "b": 1}}'.encode()) == {"a": "9" * 1000, "b": 1}


@pytest.mark.parametrize("body", [b'"\xff"', '"ж"'.encode("utf-16"), '"ж"'.encode()[:-2] + b'"'])
def test_accepts_only_utf_8(body: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        parse_json(body)


@pytest.mark.parametrize("body", [b'{"to": 1, "cc": 2, "to": 3}', b'[{"a": {"to": 1, "to": 1}}]', b'{"to": 1, "\\u0074o": 2}'])
@pytest.mark.parametrize("at_once", ["the body", "objects", "nothing"])
def test_rejects_two_fields_with_the_same_name(monkeypatch: pytest.MonkeyPatch, body: bytes, at_once: str) -> None:
    if at_once == "objects":
        monkeypatch.setattr(json_body, "MAX_VALUES_AT_ONCE", 0)
    elif at_once == "nothing":
        parse_nothing_at_once(monkeypatch)

    with pytest.raises(DuplicateName, match="'to'"):
        parse_json(body)
