"""The budget of the next claim: the number of emails that it may take, and the options of their selection.

So many emails are in flight that no connection waits for a claim. Retries and slow recipients get only a share of them. Emails of
a higher priority may be claimed although enough emails are in flight: they are sent before those that wait for a connection.
"""

from collections.abc import Collection
from dataclasses import dataclass

from project.delivery.circuit_breaker import CircuitBreaker
from project.delivery.fair_order import ClaimOptions
from project.delivery.lanes import ALL_PRIORITIES
from project.delivery.owner_rotation import OwnerRotation
from project.delivery.priority_turns import PriorityTurns
from project.delivery.sender_pool import SenderPool
from project.delivery.waiting_emails import share_of
from project.emails.priority import Priority

FAST_RELAY_SECONDS = 0.25  # if a full claim is sent within this time, the next claim is twice as large
MAX_QUEUED_EMAILS = 256  # claimed emails that wait for a connection; only a fast relay reaches this limit
MAX_CLAIMED_WHILE_HIGH = 40  # while an email of high priority may follow, because it would have to wait for a large claim


@dataclass(frozen=True)
class ClaimRequest:
    """Limits of the next claim: up to `limit` emails of these priorities.

    With `overtakes`, the emails go before others that are in flight already.
    """

    limit: int
    priorities: Collection[Priority] = ALL_PRIORITIES
    overtakes: bool = False


class ClaimBudget:
    """The budget of one sender pool. It adapts to the speed of the relay."""

    def __init__(self, pool: SenderPool) -> None:
        """Create a budget for twice as many emails as the pool has connections."""
        self._pool = pool
        self._target = 2 * pool.max_connections  # how many emails should be in flight
        self.priorities: Collection[Priority] = ALL_PRIORITIES  # a worker may be limited to urgent emails
        self._rotation, self._turns = OwnerRotation(), PriorityTurns()

    @property
    def has_room(self) -> bool:
        """Return whether there is room for enough emails to be worth a transaction. If not, all connections are busy."""
        limit = self._target // 2
        return self._pool.in_flight <= limit or self._pool.occupied <= limit  # counting the occupied connections takes longer

    def next_request(self) -> ClaimRequest | None:
        """Return what the next claim may take, or None if nothing.

        Without room, only emails of those priorities are claimed of which fewer emails than connections are in flight.
        """
        if self.has_room:
            limit = self._target - self._pool.occupied
            limit = min(limit, MAX_CLAIMED_WHILE_HIGH) if self._pool.is_high_expected else limit
            return ClaimRequest(limit, self.priorities)
        connections = self._pool.max_connections
        left = {each: connections - self._pool.count_urgent(each) for each in (Priority.HIGH, Priority.NORMAL)}
        allowed = frozenset(each for each, number in left.items() if number > 0 and each in self.priorities)
        return ClaimRequest(min(left[each] for each in allowed), allowed, overtakes=True) if allowed else None

    def options(self, breaker: CircuitBreaker, priorities: Collection[Priority] = ALL_PRIORITIES) -> ClaimOptions:
        """Return what the next claim may take. Every other probe of an unavailable relay takes the newest email."""
        retries = max(0, share_of(self._pool.max_connections) - self._pool.retries_in_flight)
        newest_first = breaker.failures > 0 and breaker.failures % 2 == 0
        return ClaimOptions(priorities, retries, self._pool.blocked_domains, newest_first, self._rotation, self._turns)

    def adapt(self, *, seconds: float) -> None:
        """Adapt the number of emails in flight after a full claim that followed the previous one after so many seconds."""
        connections = self._pool.max_connections
        target = self._target * 2 if seconds < FAST_RELAY_SECONDS else self._target // 2
        self._target = min(max(target, 2 * connections), connections + MAX_QUEUED_EMAILS)
