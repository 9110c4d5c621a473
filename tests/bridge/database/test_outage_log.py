"""The log of a database outage."""

import logging
import sys

import pytest
from django.db import OperationalError

from project.bridge.database import outage_log
from project.bridge.database.outage_log import DatabaseOutageFilter, record_success

Clock = list[float]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock and the state of the process. The list contains the current time."""
    now = [1000.0]
    monkeypatch.setattr(outage_log, "_outage", outage_log._Outage())
    monkeypatch.setattr("project.bridge.database.outage_log.time.monotonic", lambda: now[0])
    return now


def passes(error: Exception, clock: Clock, at: float) -> str | None:
    """Return the line that is logged for an error at a time, or None."""
    clock[0] = 1000.0 + at
    try:
        raise error
    except type(error):
        record = logging.LogRecord("name", logging.ERROR, "path", 1, "Polling %s", ("failed",), sys.exc_info())
    return logging.Formatter().format(record) if DatabaseOutageFilter().filter(record) else None


def test_an_outage_is_logged_at_its_beginning_and_once_a_minute(clock: Clock) -> None:
    error = OperationalError("connection\n refused")

    logged = [at for at in range(0, 130, 2) if passes(error, clock, at) is not None]

    assert logged == [0, 60, 120]


def test_a_line_has_the_reason_and_no_traceback(clock: Clock) -> None:
    line = passes(OperationalError("connection\n refused"), clock, 0)

    assert line == "Polling failed (the database failed: OperationalError: connection refused; logged once a minute)"


def test_other_errors_are_always_logged(clock: Clock) -> None:
    lines = [passes(ValueError("bug"), clock, at) for at in (0, 1)]

    assert ["Traceback" in str(line) for line in lines] == [True, True]


def test_the_end_is_logged_once_with_the_duration(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    record_success()
    passes(OperationalError(), clock, 0)
    passes(OperationalError(), clock, 5)
    for at in (6, 7.5, 9):  # a call may succeed during an outage, so the first success is not the end
        clock[0] = 1000.0 + at
        record_success()

    assert caplog.messages == ["The database is available again after 8 s"]


def test_a_second_outage_within_a_minute_is_logged_too(clock: Clock) -> None:
    passes(OperationalError(), clock, 0)
    clock[0] = 1010.0
    record_success()

    assert passes(OperationalError(), clock, 20) is not None
