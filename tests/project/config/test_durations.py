"""RETRY_DELAYS, read."""

import re
from datetime import timedelta

import pytest

from project.config.durations import DEFAULT_RETRY_DELAYS, parse_durations


@pytest.mark.parametrize(
    ("text", "delays"),
    [
        ("1m,5m,15m,1h,4h,12h,24h", DEFAULT_RETRY_DELAYS),
        (" 30s , 2d ", (timedelta(seconds=30), timedelta(days=2))),
        ("0s", (timedelta(0),)),
        ("30d", (timedelta(days=30),)),
        ("", ()),
        ("  ", ()),
    ],
)
def test_delays_can_be_written_down(text: str, delays: tuple[timedelta, ...]) -> None:
    assert parse_durations(text) == delays


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("1m,,5m", "'' is no delay"),
        ("1m,", "'' is no delay"),
        ("1m;5m", "'1m;5m' is no delay"),
        ("1m,5", "'5' is no delay"),
        ("m", "'m' is no delay"),
        ("1.5h", "'1.5h' is no delay"),
        ("-1m", "'-1m' is no delay"),
        ("1M", "'1M' is no delay"),
        ("1 m", "'1 m' is no delay"),
        ("1w", "'1w' is no delay"),
        ("٣m", "'٣m' is no delay"),
        (f"{'9' * 400}d", "is no delay"),
        ("31d", "'31d' is longer than 30 days"),
        ("999999999d", "is longer than 30 days"),
    ],
)
def test_says_what_is_wrong_with_delays(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        parse_durations(text)
