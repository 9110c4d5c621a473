"""Places for sockets and streams."""

from contextlib import ExitStack

import pytest
from pytest_django import Settings

from project.limits.connection_slots import TooManyConnections, connection_slot


def test_one_too_many_is_refused_and_takes_no_place(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 2
    with connection_slot("key:1"):
        with connection_slot("key:1"), pytest.raises(TooManyConnections, match="2 sockets"), connection_slot("key:1"):
            pass

        with connection_slot("key:1"), connection_slot("key:2"):
            pass


def test_a_place_is_free_when_its_holder_fails(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 1
    with pytest.raises(OSError, match="reset"), connection_slot("key:1"):
        raise OSError("reset")

    with connection_slot("key:1"):
        pass


def test_with_no_limit_there_are_any_number(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 0

    with ExitStack() as places:
        for _ in range(2000):
            places.enter_context(connection_slot("key:1"))
