"""Crashes: when an email is tried again after workers crashed on it, and when it fails."""

from datetime import timedelta

import pytest

from project.delivery.crashes import MAX_CRASHES, next_attempt_after_crash
from tests.project.conftest import NOW


def test_waits_longer_after_each_crash_in_a_row() -> None:
    times = [next_attempt_after_crash(crashes, now=NOW) for crashes in range(1, MAX_CRASHES)]

    assert times == [NOW + timedelta(seconds=seconds) for seconds in (2, 10, 30, 60)]


def test_does_not_try_again_after_too_many_crashes() -> None:
    assert next_attempt_after_crash(MAX_CRASHES, now=NOW) is None


def test_rejects_a_count_below_one() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        next_attempt_after_crash(0, now=NOW)
