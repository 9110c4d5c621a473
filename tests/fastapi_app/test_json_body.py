"""Parsing JSON: the same values as `json.loads`, and limits on what takes long."""

import json
from typing import Any

import pytest

from fastapi_app import json_body
from fastapi_app.json_body import MAX_NUMBER_LENGTH, MAX_VALUES, MAX_VALUES_AT_ONCE, JsonTooComplex, count_values, parse_json

TRICKY: dict[str, Any] = {"a": ['x"y,[{:', "\\", {"ж": None, "": -1.5e3}], "t": "\\" * 1001, "u": '\\"'}


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 100_000])
def test_counts_values_and_ignores_the_text_of_strings(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_body, "PIECE_BYTES", piece)
    body = json.dumps(TRICKY, ensure_ascii=False).encode()

    assert count_values(body) == count_values(json.dumps({"a": ["", "", {"b": 0, "c": 0}], "t": "", "u": ""}).encode())
    assert parse_json(body) == TRICKY


def test_parses_a_body_with_many_values_to_the_same_value() -> None:
    value = {"list": [TRICKY, [], {}, True, 0.1, 10**50] * MAX_VALUES_AT_ONCE}

    assert parse_json(json.dumps(value).encode()) == value


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


@pytest.mark.parametrize("body", [b'"\xff"', '"ж"'.encode("utf-16"), '"ж"'.encode()[:-2] + b'"'])
def test_accepts_only_utf_8(body: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        parse_json(body)
