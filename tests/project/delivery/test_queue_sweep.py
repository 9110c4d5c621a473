"""The sweep of the queue: it works in small steps, so that emails are claimed in between."""

from datetime import datetime

import pytest

from project.delivery import queue_sweep
from project.delivery.queue_sweep import QUEUE_SWEEP_INTERVAL_SECONDS, QueueSweep

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the steps of a sweep, and return the list of their calls. The first step changes emails twice."""
    calls: list[str] = []

    def change_twice(*, now: datetime) -> int:
        calls.append("first")
        return int(calls.count("first") in (1, 2))

    def change_nothing(*, now: datetime) -> int:
        calls.append("second")
        return 0

    monkeypatch.setattr(queue_sweep, "STEPS", (change_twice, change_nothing))
    return calls


async def test_returns_after_each_transaction_that_changed_emails(calls: list[str]) -> None:
    sweep = QueueSweep()

    unfinished = []
    for _ in range(3):
        await sweep.run_if_due()
        unfinished.append((len(calls), sweep.is_unfinished))

    assert unfinished == [(1, True), (2, True), (4, False)]


async def test_limits_the_transactions_of_a_step(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_sweep, "MAX_SWEEP_ROUNDS", 1)
    sweep = QueueSweep()

    await sweep.run_if_due()

    assert (calls, sweep.is_unfinished) == (["first", "second"], False)


async def test_begins_again_after_the_interval_only(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    sweep = QueueSweep()
    for _ in range(4):
        await sweep.run_if_due()
    before = len(calls)

    now += QUEUE_SWEEP_INTERVAL_SECONDS
    await sweep.run_if_due()

    assert (before, len(calls)) == (4, 6)
