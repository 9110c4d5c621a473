"""Parsing of RETRY_DELAYS."""

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
def test_parses_a_list_of_delays(text: str, delays: tuple[timedelta, ...]) -> None:
    assert parse_durations(text) == delays


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1m,,5m", "'' is not a delay"),
        ("1m,", "'' is not a delay"),
        ("1m;5m", "'1m;5m' is not a delay"),
        ("1m,5", "'5' is not a delay"),
        ("m", "'m' is not a delay"),
        ("1.5h", "'1.5h' is not a delay"),
        ("-1m", "'-1m' is not a delay"),
        ("1M", "'1M' is not a delay"),
        ("1 m", "'1 m' is not a delay"),
        ("1w", "'1w' is not a delay"),
        ("٣m", "'٣m' is not a delay"),
        (f"{'9' * 400}d", "is not a delay"),
        ("31d", "'31d' is longer than 30 days"),
        ("999999999d", "is longer than 30 days"),
    ],
)
def test_rejects_invalid_delays_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_durations(text)
