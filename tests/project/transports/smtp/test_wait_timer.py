"""Timeout for the waits of one connection."""

import asyncio

import pytest

from project.transports.smtp.wait_timer import WaitTimer
from tests.project.transports.fake_relay import until

pytestmark = pytest.mark.anyio

SHORT, LONG = 0.02, 60.0


class Timeouts:
    """Records when timeouts were reported, on the event loop's clock."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self) -> None:
        """Record a timeout."""
        self.times.append(asyncio.get_running_loop().time())


async def pass_time(seconds: float) -> None:
    """Wait until the event loop's clock has advanced."""
    end = asyncio.get_running_loop().time() + seconds
    await until(lambda: asyncio.get_running_loop().time() > end)


async def test_reports_a_wait_that_takes_too_long() -> None:
    timeouts = Timeouts()

    WaitTimer(timeouts).start(SHORT)

    await until(lambda: len(timeouts.times) == 1)


async def test_reports_no_wait_that_ended_in_time() -> None:
    timeouts = Timeouts()
    timer = WaitTimer(timeouts)

    timer.start(SHORT)
    timer.stop()
    await pass_time(3 * SHORT)

    assert timeouts.times == []


async def test_a_later_wait_has_its_own_time() -> None:
    timeouts = Timeouts()
    timer = WaitTimer(timeouts)
    timer.start(SHORT)
    timer.stop()

    timer.start(2 * SHORT)
    ends_at = asyncio.get_running_loop().time() + 2 * SHORT
    await until(lambda: len(timeouts.times) == 1)

    assert timeouts.times[0] >= ends_at - 0.001


async def test_a_short_wait_after_a_long_one_ends_at_its_own_time() -> None:
    timeouts = Timeouts()
    timer = WaitTimer(timeouts)
    timer.start(LONG)
    timer.stop()

    timer.start(SHORT)

    await until(lambda: len(timeouts.times) == 1)


async def test_a_closed_timer_leaves_nothing_in_the_event_loop() -> None:
    timeouts = Timeouts()
    timer = WaitTimer(timeouts)
    timer.start(SHORT)

    timer.close()
    await pass_time(3 * SHORT)

    assert timeouts.times == []
