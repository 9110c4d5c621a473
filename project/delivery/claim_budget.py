"""The budget of the next claim: the number of emails that it may take, and the options of their selection.

So many emails are in flight that no connection waits for a claim. Retries and slow recipients get only a share of them.
"""

from project.delivery.circuit_breaker import CircuitBreaker
from project.delivery.fair_order import ClaimOptions, OwnerRotation
from project.delivery.sender_pool import SenderPool
from project.delivery.waiting_emails import share_of

FAST_RELAY_SECONDS = 0.25  # if a full claim is sent within this time, the next claim is twice as large
MAX_QUEUED_EMAILS = 256  # claimed emails that wait for a connection; only a fast relay reaches this limit


class ClaimBudget:
    """The budget of one sender pool. It adapts to the speed of the relay."""

    def __init__(self, pool: SenderPool) -> None:
        """Create a budget for twice as many emails as the pool has connections."""
        self._pool = pool
        self._target = 2 * pool.max_connections  # how many emails should be in flight
        self._rotation = OwnerRotation()

    @property
    def has_room(self) -> bool:
        """Return whether there is room for enough emails to be worth a transaction. If not, all connections are busy."""
        return self._pool.occupied <= self._target // 2

    @property
    def room(self) -> int:
        """Return how many more emails should be in flight."""
        return self._target - self._pool.occupied

    def options(self, breaker: CircuitBreaker) -> ClaimOptions:
        """Return what the next claim may take. Every other probe of an unavailable relay takes the newest email."""
        retries = max(0, share_of(self._pool.max_connections) - self._pool.retries_in_flight)
        newest_first = breaker.failures > 0 and breaker.failures % 2 == 0
        return ClaimOptions(retries, self._pool.blocked_domains, newest_first, self._rotation)

    def adapt(self, *, seconds: float) -> None:
        """Adapt the number of emails in flight after a full claim that followed the previous one after so many seconds."""
        connections = self._pool.max_connections
        target = self._target * 2 if seconds < FAST_RELAY_SECONDS else self._target // 2
        self._target = min(max(target, 2 * connections), connections + MAX_QUEUED_EMAILS)
