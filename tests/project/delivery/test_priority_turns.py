"""Turns of priorities, and the connections that they may occupy."""

from collections import Counter

import pytest

from project.delivery.priority_turns import PriorityTurns, connection_shares
from project.emails.priority import Priority


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (set(Priority), {Priority.HIGH: 68, Priority.NORMAL: 22, Priority.LOW: 10}),
        ({Priority.HIGH, Priority.LOW}, {Priority.HIGH: 90, Priority.LOW: 10}),
        ({Priority.NORMAL, Priority.LOW}, {Priority.NORMAL: 90, Priority.LOW: 10}),
        ({Priority.HIGH, Priority.NORMAL}, {Priority.HIGH: 75, Priority.NORMAL: 25}),
        ({Priority.LOW}, {Priority.LOW: 100}),
    ],
)
def test_lower_priorities_get_a_share(waiting: set[Priority], expected: dict[Priority, int]) -> None:
    turns = PriorityTurns()

    assert Counter(turns.next(waiting) for _ in range(100)) == expected


@pytest.mark.parametrize("other", [Priority.NORMAL, Priority.LOW])
def test_a_single_email_of_high_priority_is_first(other: Priority) -> None:
    turns = PriorityTurns()
    for _ in range(1000):
        turns.next({other})

    assert turns.next({other, Priority.HIGH}) == Priority.HIGH


@pytest.mark.parametrize(
    ("connections", "high_expected", "shares"),
    [
        (1, True, (1, 1, 1)),
        (2, True, (2, 2, 1)),
        (4, False, (4, 4, 3)),
        (4, True, (4, 3, 3)),
        (20, False, (20, 20, 18)),
        (20, True, (20, 19, 18)),
        (500, True, (500, 499, 438)),
    ],
)
def test_lower_priorities_leave_connections_free(connections: int, high_expected: bool, shares: tuple[int, ...]) -> None:
    assert tuple(connection_shares(connections, high_expected=high_expected).values()) == shares
