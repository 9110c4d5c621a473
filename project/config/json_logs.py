"""Log lines as JSON objects, one per line, for log collectors. Used with LOG_FORMAT=json.

structlog formats the records of Python's `logging`, so the lines of Django, Daphne and all libraries have the same fields.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from structlog.processors import JSONRenderer, format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict

from project.bridge.middleware.request_id import current_client_address, current_request_id
from project.config.log_redaction import is_redacted, redact

# Attributes that Django and asyncio add to their records: objects, and copies of what other fields contain.
HIDDEN_ATTRIBUTES = frozenset({"_record", "_from_structlog", "request", "server_time", "taskName"})
MAX_DEPTH = 5  # of lists and objects in a field; what is deeper becomes text

_add_extra = ExtraAdder()
_logger = logging.getLogger(__name__)  # structlog's interface needs one


def create_json_formatter(*, redacts: bool) -> logging.Formatter:
    """Return a formatter that writes one JSON object per record, without email addresses and secrets if it `redacts`.

    The fields are `timestamp` (UTC), `level`, `logger`, `event` (the message), `process_id`, the attributes of `extra=…`,
    `exception` with the traceback, and `request_id` and `client_address` for code that runs for a request.
    """

    def make_plain(_: object, _method: str, event: EventDict) -> Mapping[str, Any]:
        change_text = redact if redacts and is_redacted(event["_record"]) else str
        fields = {name: value for name, value in event.items() if name not in HIDDEN_ATTRIBUTES}
        return {name: _plain(value, change_text) for name, value in fields.items()}

    return ProcessorFormatter(foreign_pre_chain=[_add_record_fields, format_exc_info], processors=[make_plain, JSONRenderer()])


def _add_record_fields(_: object, _method: str, event: EventDict) -> EventDict:
    """Return the standard fields of a record, then its extra attributes, which replace no standard field."""
    record: logging.LogRecord = event["_record"]
    fields = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event["event"],
        "request_id": current_request_id(),
        "client_address": current_client_address(),
        "process_id": record.process,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    extra = _add_extra(_logger, "", {"_record": record})
    return {**known, **{name: value for name, value in extra.items() if name not in known}, **event}


def _plain(value: object, change_text: Callable[[str], str], depth: int = 0) -> object:
    """Return a value that JSON can represent, with all texts changed. Any other object becomes text."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {change_text(str(name)): _plain(each, change_text, depth + 1) for name, each in value.items()}
    if depth < MAX_DEPTH and isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [_plain(each, change_text, depth + 1) for each in value]
    return change_text(str(value))
