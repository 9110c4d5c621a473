"""The budget of a claim while all connections are busy, and while urgent emails may follow."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from project.delivery.claim_budget import MAX_CLAIMED_WHILE_HIGH, ClaimBudget, ClaimRequest
from project.delivery.priority_turns import FROM_HIGH_TO_LOW
from project.emails.priority import Priority

HIGH, NORMAL, LOW = FROM_HIGH_TO_LOW


@dataclass
class Pool:
    """The state of a sender pool of 20 connections: how many emails of each priority are in flight."""

    emails: Counter[Priority] = field(default_factory=Counter)
    max_connections: int = 20
    is_high_expected: bool = False

    @property
    def in_flight(self) -> int:
        """Return how many emails are in flight."""
        return self.emails.total()

    @property
    def occupied(self) -> int:
        """Return how many emails are in flight, because none of them waits for a slow recipient."""
        return self.in_flight

    def count_urgent(self, priority: Priority) -> int:
        """Return how many emails in flight have this priority or a higher one."""
        return sum(self.emails[each] for each in FROM_HIGH_TO_LOW[: FROM_HIGH_TO_LOW.index(priority) + 1])


@pytest.mark.parametrize(
    ("high", "normal", "low", "request_"),
    [
        (0, 0, 0, ClaimRequest(40)),
        (20, 0, 0, ClaimRequest(20)),
        (0, 0, 21, ClaimRequest(20, frozenset({HIGH, NORMAL}), overtakes=True)),
        (0, 15, 30, ClaimRequest(5, frozenset({HIGH, NORMAL}), overtakes=True)),
        (0, 30, 0, ClaimRequest(20, frozenset({HIGH}), overtakes=True)),
        (15, 30, 0, ClaimRequest(5, frozenset({HIGH}), overtakes=True)),
        (20, 1, 30, None),
    ],
)
def test_urgent_emails_may_be_claimed_while_all_connections_are_busy(
    high: int, normal: int, low: int, request_: ClaimRequest | None
) -> None:
    pool: Any = Pool(Counter({HIGH: high, NORMAL: normal, LOW: low}))

    assert ClaimBudget(pool).next_request() == request_


@pytest.mark.parametrize(("is_high_expected", "limit"), [(False, 276), (True, MAX_CLAIMED_WHILE_HIGH)])
def test_claims_are_small_while_urgent_emails_may_follow(is_high_expected: bool, limit: int) -> None:
    pool: Any = Pool(is_high_expected=is_high_expected)
    budget = ClaimBudget(pool)
    for _ in range(10):
        budget.adapt(seconds=0.0)

    assert budget.next_request() == ClaimRequest(limit)
