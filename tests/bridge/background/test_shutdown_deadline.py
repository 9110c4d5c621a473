"""The shutdown deadline: the parts of a server share one grace period."""

import pytest

from project.bridge.background import shutdown_deadline as module
from project.bridge.background.shutdown_deadline import ShutdownDeadline, seconds_left


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the monotonic clock."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_the_grace_is_counted_from_the_start(clock: Clock) -> None:
    deadline = ShutdownDeadline(25.0)
    clock.now = 500.0
    deadline.start()
    clock.now = 510.0
    deadline.start()

    assert deadline.remaining() == 15.0


def test_the_first_question_starts_the_grace(clock: Clock) -> None:
    deadline = ShutdownDeadline(25.0)
    first = deadline.remaining()
    clock.now += 5.0

    assert (first, deadline.remaining()) == (25.0, 20.0)


def test_nothing_is_left_after_the_deadline(clock: Clock) -> None:
    deadline = ShutdownDeadline(25.0)
    deadline.start()
    clock.now += 60.0

    assert deadline.remaining() == 0.0


def test_a_fixed_grace_does_not_shrink(clock: Clock) -> None:
    assert seconds_left(25.0) == 25.0
    assert seconds_left(ShutdownDeadline(5.0)) == 5.0
