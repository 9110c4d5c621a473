"""Log lines as JSON: the fields of a line, and what they must not contain."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from project.bridge.middleware.request_id import running_for_request
from project.config.json_logs import create_json_formatter

SECRETS = {
    "ada@example.com": "…@…",
    "mr_0123456789ab_s3cr-t_K3Y": "mr_…",
    "Authorization: Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl": "Authorization: Bearer …",
    "Authorization: Basic YWRhOnNlY3JldCB3b3Jk": "Authorization: Basic …",
}


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    """Return a log record."""
    return logging.getLogger().makeRecord("project.test", level, __file__, 1, message, arguments, None, extra=extra)


def formatted(made: logging.LogRecord, *, redacts: bool = True) -> dict[str, Any]:
    """Format a record, and return the fields of its only line."""
    line = create_json_formatter(redacts=redacts).format(made)
    assert "\n" not in line
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_line_has_the_standard_fields() -> None:
    made = record("Hello %s", "Ada", level=logging.WARNING)

    with running_for_request("request-1"):
        fields = formatted(made)

    assert datetime.fromisoformat(fields.pop("timestamp")) == datetime.fromtimestamp(made.created, UTC)
    assert fields == {
        "level": "warning",
        "logger": "project.test",
        "event": "Hello Ada",
        "request_id": "request-1",
        "process_id": made.process,
    }


def test_a_line_has_extra_fields_and_none_of_djangos_objects() -> None:
    fields = formatted(record("Hi", smtp_code=250, seconds=0.25, relay=None, request=object(), items={"a": [1, "b"]}))

    assert (fields["smtp_code"], fields["seconds"], fields["relay"], fields["items"]) == (250, 0.25, None, {"a": [1, "b"]})
    assert "request" not in fields


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"\xff", "\ud800", object(), {1: {2: {3: {4: {5: {6: 7}}}}}}])
def test_every_value_becomes_valid_json(value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = create_json_formatter(redacts=True).format(record("Hi", value=value))

    assert "value" in json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("name", ["event", "timestamp", "logger", "process_id"])
def test_extra_fields_replace_no_standard_field(name: str) -> None:
    made = record("Hi")
    vars(made)[name] = "other"

    assert formatted(made)[name] != "other"


@pytest.mark.parametrize(("secret", "redacted"), SECRETS.items())
def test_removes_addresses_and_secrets_from_all_fields(secret: str, redacted: str) -> None:
    fields = formatted(record("To %s", secret, where=[secret], names={secret: "x"}))

    assert (fields["event"], fields["where"], fields["names"]) == (f"To {redacted}", [redacted], {redacted: "x"})


def test_removes_addresses_from_tracebacks() -> None:
    address = "ada" + "@example.com"  # in one word, the traceback would contain this line with the address
    try:
        raise ValueError(address)
    except ValueError:
        made = record("It failed")
        made.exc_info = sys.exc_info()

    fields = formatted(made)

    assert fields["exception"].endswith("ValueError: …@…")
    assert address not in json.dumps(fields)


def test_a_line_at_debug_level_is_not_redacted() -> None:
    assert formatted(record("To ada@example.com", level=logging.DEBUG))["event"] == "To ada@example.com"


def test_the_embedded_mailbox_redacts_nothing() -> None:
    assert formatted(record("To ada@example.com"), redacts=False)["event"] == "To ada@example.com"
