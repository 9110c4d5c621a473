"""How fast a socket is read. What else is limited needs a server: tests/servers/test_limits.py."""

import pytest

from project.bridge.server.connection_limits import TokenBucket

pytestmark = pytest.mark.usefixtures("clock")


class Clock:
    """A time that passes when it is told to."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What `Pace` takes for the time."""
    clock = Clock()
    monkeypatch.setattr("project.bridge.server.connection_limits.monotonic", lambda: clock.now)
    return clock


def test_a_seconds_messages_may_come_at_once() -> None:
    pace = TokenBucket(10)

    waits = [pace.take() for _ in range(12)]

    assert max(waits[:10]) <= 1e-9
    assert waits[10:] == pytest.approx([0.1, 0.2])


def test_what_is_not_used_is_kept_for_a_second_and_no_longer(clock: Clock) -> None:
    pace = TokenBucket(10)
    for _ in range(10):
        pace.take()
    clock.now += 0.5
    assert [pace.take() > 1e-9 for _ in range(6)] == [False] * 5 + [True]

    clock.now += 3600

    assert [pace.take() > 1e-9 for _ in range(11)] == [False] * 10 + [True]


def test_with_no_limit_nobody_waits() -> None:
    pace = TokenBucket(0)

    assert max(pace.take() for _ in range(1000)) <= 0
