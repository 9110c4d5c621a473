"""Sends errors to Sentry, or to a service with the same protocol, if SENTRY_DSN is set. Needs the extra `sentry`.

An event has the exception, its stack without the values of variables, and the method and path of the request. Email addresses and
secrets are removed from all texts.
"""

import logging
from collections.abc import Mapping
from typing import Any

from project.bridge.middleware.request_id import current_request_id
from project.config.log_redaction import redact

MISSING_EXTRA = "SENTRY_DSN is set, but the package sentry-sdk is missing. Install the extra: pip install 'mailrail[sentry]'"
MAX_DEPTH = 20  # of an event


def start_error_reports(dsn: str | None) -> None:
    """Report unhandled exceptions, and log records with an exception, to `dsn`. Exits if the extra is missing."""
    if dsn is None:
        return
    try:
        import sentry_sdk  # imported here, because it is optional
        from sentry_sdk.integrations.logging import LoggingIntegration
    except ImportError:
        raise SystemExit(MISSING_EXTRA) from None
    try:
        sentry_sdk.init(
            dsn=dsn,
            data_collection={  # replaces `send_default_pii`
                "user_info": False,
                "cookies": {"mode": "off"},
                "http_bodies": [],
                "url_query_params": {"mode": "off"},
                "database_query_data": False,
                "queues": False,
                "stack_frame_variables": False,  # a variable may hold an email
            },
            before_send=prepare_event,  # type: ignore[arg-type]  # an event is a TypedDict
            before_breadcrumb=lambda crumb, _hint: _redacted(crumb),
            integrations=[LoggingIntegration(level=logging.WARNING, event_level=logging.ERROR)],
        )
    except sentry_sdk.utils.BadDsn:
        raise SystemExit("SENTRY_DSN: it must look like https://key@sentry.example.com/1") from None


def prepare_event(event: dict[str, Any], hint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the event without personal data. Return None for a log record without an exception.

    Such records are expected: an email that a relay rejects is logged at level ERROR.
    """
    if "log_record" in hint and not hint.get("exc_info"):
        return None
    event.pop("user", None)
    if request := event.get("request"):
        event["request"] = {"method": request.get("method"), "url": str(request.get("url")).partition("?")[0]}
    prepared: dict[str, Any] = _redacted(event)
    if (request_id := current_request_id()) is not None:
        prepared.setdefault("tags", {})["request_id"] = request_id
    return prepared


def _redacted(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return redact(value)
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {name: _redacted(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each, depth + 1) for each in value]
    return value
