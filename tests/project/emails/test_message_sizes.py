"""Limits of the total size of messages."""

from uuid import UUID

import pytest

from project.emails.message_sizes import take_up_to

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [
        ([], []),
        ([(ONE, 4), (TWO, 6), (THREE, 1)], [ONE, TWO]),
        ([(ONE, 11), (TWO, 1)], [ONE]),
        ([(ONE, None), (TWO, 10), (THREE, None)], [ONE, TWO, THREE]),
    ],
    ids=["none", "up to the limit", "one that is too large", "deleted messages"],
)
def test_takes_messages_up_to_the_limit_but_at_least_one(sizes: list[tuple[UUID, int | None]], taken: list[UUID]) -> None:
    assert take_up_to(10, sizes) == taken
