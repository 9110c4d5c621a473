"""In-memory storage of rate limits: windows, and the bounds of its size and of the work for each request."""

import time

import pytest

from project.limits import memory_storage
from project.limits.memory_storage import BoundedMemoryStorage

pytestmark = pytest.mark.anyio


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(memory_storage, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the monotonic clock."""
    return Clock(monkeypatch)


async def test_counts_in_a_window_from_the_first_request(clock: Clock) -> None:
    storage = BoundedMemoryStorage()

    counts = [await storage.incr("ada", 60) for _ in range(2)]
    clock.now += 59
    counts.append(await storage.incr("ada", 60))
    clock.now += 1
    counts.append(await storage.incr("ada", 60))

    assert counts == [1, 2, 3, 1]


async def test_returns_the_end_of_the_window(clock: Clock) -> None:
    storage = BoundedMemoryStorage()
    await storage.incr("ada", 60)
    clock.now += 20

    assert (await storage.get("ada"), round(await storage.get_expiry("ada") - time.time())) == (1, 40)
    assert (await storage.get("bob"), round(await storage.get_expiry("bob") - time.time())) == (0, 0)


async def test_a_change_of_the_systems_clock_does_not_end_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = BoundedMemoryStorage()
    await storage.incr("ada", 60)

    monkeypatch.setattr(memory_storage, "time", lambda: 10**10)

    assert await storage.incr("ada", 60) == 2


async def test_drops_expired_counters(clock: Clock) -> None:
    storage = BoundedMemoryStorage()
    for number in range(100):
        await storage.incr(f"minute {number}", 60)
        await storage.incr(f"hour {number}", 3600)
    clock.now += 60

    for number in range(60):
        await storage.incr(f"later {number}", 60)

    assert await storage.reset() == 100 + 60


async def test_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_storage, "MAX_KEYS", 10)
    storage = BoundedMemoryStorage()

    for number in range(100):
        await storage.incr(str(number), 60)

    await storage.incr("99", 60)
    assert (await storage.get("99"), await storage.get("0"), await storage.reset()) == (2, 0, 10)


async def test_clears_a_key(clock: Clock) -> None:
    storage = BoundedMemoryStorage()
    await storage.incr("ada", 60)

    await storage.clear("ada")

    assert await storage.get("ada") == 0
    assert await storage.check()
