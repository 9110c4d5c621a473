"""Connection slots: each owner has a limit of open WebSockets and streams."""

from contextlib import ExitStack

import pytest
from pytest_django import Settings

from project.limits.connection_slots import TooManyConnections, connection_slot


def test_rejects_a_connection_beyond_the_limit(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 2
    with connection_slot("key:1"):
        with connection_slot("key:1"), pytest.raises(TooManyConnections, match="The limit is 2"), connection_slot("key:1"):
            pass

        with connection_slot("key:1"), connection_slot("key:2"):
            pass


def test_frees_the_slot_after_an_exception(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 1
    with pytest.raises(OSError, match="reset"), connection_slot("key:1"):
        raise OSError("reset")

    with connection_slot("key:1"):
        pass


def test_zero_means_no_limit(settings: Settings) -> None:
    settings.MAX_STREAMS_PER_CALLER = 0

    with ExitStack() as slots:
        for _ in range(2000):
            slots.enter_context(connection_slot("key:1"))
