"""The token bucket that limits WebSocket messages. tests/servers/bridge/test_connection_limits.py tests the other limits."""

import pytest

from project.bridge.server.connection_limits import TokenBucket

pytestmark = pytest.mark.usefixtures("clock")

EPSILON = 1e-9  # tolerance for rounding errors


class Clock:
    """A clock that only moves when a test moves it."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock that `TokenBucket` reads."""
    clock = Clock()
    monkeypatch.setattr("project.bridge.server.connection_limits.monotonic", lambda: clock.now)
    return clock


def test_one_seconds_tokens_are_available_at_once() -> None:
    bucket = TokenBucket(10)

    waits = [bucket.take() for _ in range(12)]

    assert max(waits[:10]) <= EPSILON
    assert waits[10:] == pytest.approx([0.1, 0.2])


def test_unused_tokens_are_kept_up_to_one_seconds_worth(clock: Clock) -> None:
    bucket = TokenBucket(10)
    for _ in range(10):
        bucket.take()
    clock.now += 0.5
    assert [bucket.take() > EPSILON for _ in range(6)] == [False] * 5 + [True]

    clock.now += 3600

    assert [bucket.take() > EPSILON for _ in range(11)] == [False] * 10 + [True]


def test_zero_per_second_means_unlimited() -> None:
    bucket = TokenBucket(0)

    assert max(bucket.take() for _ in range(1000)) <= 0
