"""Error reports to Sentry: what is reported, what is removed, and wrong settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from project.bridge.middleware.request_id import running_for_request
from project.config.error_reports import prepare_event, start_error_reports
from tests.collector import collector
from tests.processes import BASE_ENV, ROOT

FAIL = """
import logging
logger, secret = logging.getLogger("project.test"), "between-us"
logger.error("Email 1 is failed: 550")
try:
    raise ValueError("ada@" + "example.com is no good")
except ValueError:
    logger.exception("It failed")
"""


def test_reports_an_exception_without_personal_data(tmp_path: Path) -> None:
    with collector() as receiver:
        env = {**os.environ, **BASE_ENV, "DATA_DIR": str(tmp_path), "SENTRY_DSN": receiver.dsn, "EMAIL_URL": "smtp://localhost:1"}
        command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", FAIL]
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, timeout=60)

        (event,) = receiver.events

    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "…@… is no good")
    assert "between-us" not in json.dumps([frame.get("vars") for frame in error["stacktrace"]["frames"]])
    assert "ada@example.com" not in json.dumps(event)


def test_removes_addresses_secrets_and_users() -> None:
    event = {
        "user": {"email": "ada@example.com"},
        "request": {"method": "GET", "url": "http://x/ada@example.com?q=x", "headers": {"X-Forwarded-For": "192.0.2.7"}},
        "extra": {"list": ["mr_0123456789ab_s3cr-t_K3Y", 1], "header": "Bearer 0123456789abcdef0123"},
    }

    with running_for_request("request-1"):
        prepared = prepare_event(event, {"exc_info": (None, None, None)})

    assert prepared == {
        "request": {"method": "GET", "url": "http://x/…@…"},
        "extra": {"list": ["mr_…", 1], "header": "Bearer …"},
        "tags": {"request_id": "request-1"},
    }


def test_a_log_line_without_an_exception_is_not_reported() -> None:
    assert prepare_event({"message": "Email 1 is failed"}, {"log_record": object()}) is None
    assert prepare_event({"message": "It failed"}, {"log_record": object(), "exc_info": (None, None, None)}) is not None


def test_a_missing_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)

    with pytest.raises(SystemExit, match=r"SENTRY_DSN is set, but .* pip install 'mailrail\[sentry\]'"):
        start_error_reports("http://key@localhost/1")


def test_an_invalid_dsn_stops_the_start_without_showing_it() -> None:
    with pytest.raises(SystemExit, match="SENTRY_DSN: it must look like https://key@"):
        start_error_reports("nonsense-secret")
