"""Metrics of the database's threads and commits, and of open connections."""

import pytest
from prometheus_client import REGISTRY

from project.bridge.database.transactions import ping_database, run_in_transaction
from project.bridge.notifications.local import connection_counts


def read(name: str, **labels: str) -> float:
    """Return a metric's value."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.anyio
@pytest.mark.usefixtures("shared_test_connection")
async def test_measures_waits_for_threads_and_commits() -> None:
    names: list[tuple[str, dict[str, str]]] = [
        ("mailrail_thread_wait_seconds_count", {"pool": "database"}),
        ("mailrail_database_commit_seconds_count", {}),
    ]
    before = [read(name, **labels) for name, labels in names]

    await run_in_transaction(ping_database)

    assert [read(name, **labels) for name, labels in names] == [value + 1 for value in before]


def test_shows_the_number_of_open_connections() -> None:
    connection_counts.send(3)
    shown = read("mailrail_open_connections")
    connection_counts.send(0)

    assert (shown, read("mailrail_open_connections")) == (3, 0)
