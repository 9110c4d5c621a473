"""Places for sockets and streams."""

from contextlib import ExitStack

import pytest
from pytest_django import Settings

from project.accounts.places import TooManySockets, place


def test_one_too_many_is_refused_and_takes_no_place(settings: Settings) -> None:
    settings.SOCKETS_PER_CALLER = 2
    with place("key:1"):
        with place("key:1"), pytest.raises(TooManySockets, match="2 sockets"), place("key:1"):
            pass

        with place("key:1"), place("key:2"):
            pass


def test_a_place_is_free_when_its_holder_fails(settings: Settings) -> None:
    settings.SOCKETS_PER_CALLER = 1
    with pytest.raises(OSError, match="reset"), place("key:1"):
        raise OSError("reset")

    with place("key:1"):
        pass


def test_with_no_limit_there_are_any_number(settings: Settings) -> None:
    settings.SOCKETS_PER_CALLER = 0

    with ExitStack() as places:
        for _ in range(2000):
            places.enter_context(place("key:1"))
