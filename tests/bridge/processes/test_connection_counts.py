"""Connection counts in shared memory: which process should accept the next connection."""

import os
from collections.abc import Iterator

import pytest

from project.bridge.processes import connection_counts
from project.bridge.processes.connection_counts import MAX_LEAD, SharedConnectionCounts, create_shared_counts

Pair = tuple[SharedConnectionCounts, SharedConnectionCounts]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return the counts as two processes see them."""
    fd = create_shared_counts(2)
    yield SharedConnectionCounts(f"{fd}:0"), SharedConnectionCounts(f"{fd}:1")
    os.close(fd)


def test_a_process_with_more_connections_is_ahead(pair: Pair) -> None:
    first, second = pair
    first.write(5 + MAX_LEAD + 1)
    second.write(5)

    assert (first.is_ahead, second.is_ahead) == (True, False)


def test_a_small_lead_does_not_count(pair: Pair) -> None:
    first, second = pair
    first.write(5 + MAX_LEAD)
    second.write(5)

    assert not first.is_ahead


def test_a_process_that_has_not_started_does_not_count(pair: Pair) -> None:
    first, _ = pair
    first.write(100)

    assert not first.is_ahead


def test_a_process_that_no_longer_accepts_does_not_count(pair: Pair) -> None:
    first, second = pair
    first.write(100)
    second.write(0)
    second.withdraw()
    second.write()

    assert not first.is_ahead


def test_a_process_that_stands_still_does_not_count(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair
    second.write(0)
    now = connection_counts._now()
    monkeypatch.setattr(connection_counts, "_now", lambda: now + 1500)
    first.write(100)

    assert not first.is_ahead
    second.write()  # it goes on
    assert first.is_ahead
