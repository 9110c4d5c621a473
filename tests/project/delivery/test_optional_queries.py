"""Queries of a delivery loop that may fail."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from project.delivery.optional_queries import limited_query_time, try_query

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]


@pytest.fixture
def may_return() -> Iterator[threading.Event]:
    """Return an event that is set at the end of the test, so that no thread stays blocked."""
    event = threading.Event()
    yield event
    event.set()


async def test_returns_the_result_or_logs_the_error(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> int:
        raise OperationalError("no route")

    assert (await try_query(lambda: 7), await try_query(fail)) == (7, None)
    assert "The delivery worker could not run fail" in caplog.text


async def test_all_queries_share_the_time_that_is_left(may_return: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    def hang() -> bool:
        return may_return.wait(60)

    started = time.monotonic()
    with limited_query_time(0.1):
        results = [await try_query(hang) for _ in range(3)]

    assert (results, time.monotonic() - started < 30) == ([None] * 3, True)
    assert caplog.text.count("stops without hang, because the database is too slow") == 3
