"""Failover between relays: emails go through the first available relay, in the order of EMAIL_URL (decision 0036)."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID

from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.relay_delivery import RelayDelivery
from project.emails.priority import Priority
from project.transports.base import Transport


class RelayFailover:
    """The deliveries through all relays of one worker. Each relay has its own circuit breaker, sender pool and connections."""

    def __init__(self, worker: str, transports: Sequence[Transport], keeper: LeaseKeeper, *, wake: Callable[[], None]) -> None:
        """Create a delivery for each transport. `wake` is called when a claim may find room for more emails."""
        self._deliveries = [
            RelayDelivery(worker, transport, keeper, wake=wake, in_flight_ids=lambda: self.in_flight_ids)
            for transport in transports
        ]
        self._pools = [delivery.pool for delivery in self._deliveries]

    @property
    def in_flight_ids(self) -> set[UUID]:
        """Return the emails that were submitted to any relay's pool and whose results are not stored yet."""
        return set().union(*(pool.in_flight_ids for pool in self._pools))

    @property
    def in_flight(self) -> int:
        """Return how many submitted emails have no stored result yet."""
        return sum(pool.in_flight for pool in self._pools)

    @property
    def waiting(self) -> int:
        """Return how many submitted emails wait for a connection."""
        return sum(pool.waiting for pool in self._pools)

    @property
    def still_sending_ids(self) -> set[UUID]:
        """Return the emails that threads still send, even after `stop`."""
        return set().union(*(pool.still_sending_ids for pool in self._pools))

    @property
    def is_stuck(self) -> bool:
        """Return whether every connection of a relay waits for a thread that does not return."""
        return any(pool.is_stuck for pool in self._pools)

    @property
    def results(self) -> int:
        """Return how many emails have a result so far."""
        return sum(delivery.results for delivery in self._deliveries)

    @property
    def may_have_more(self) -> bool:
        """Return whether the last claim through a relay took emails, so that there may be more."""
        return any(delivery.may_have_more for delivery in self._deliveries)

    @property
    def has_backlog(self) -> bool:
        """Return whether the last claim through a relay took as many emails as it could."""
        return any(delivery.has_backlog for delivery in self._deliveries)

    @property
    def seconds_since_claim(self) -> float:
        """Return the seconds since the last claim."""
        return min(delivery.seconds_since_claim for delivery in self._deliveries)

    @property
    def recheck_seconds(self) -> float:
        """Return the seconds until the next claim while claimed emails wait for a connection."""
        return min(delivery.recheck_seconds for delivery in self._deliveries)

    @property
    def are_all_unavailable(self) -> bool:
        """Return whether no relay is available."""
        return all(delivery.breaker.failures for delivery in self._deliveries)

    def next_probe_at(self, *, now: datetime) -> datetime | None:
        """Return when the next pause of a relay ends, or None if no relay pauses."""
        probes = [delivery.breaker.next_probe_at for delivery in self._deliveries]
        return min((probe for probe in probes if probe is not None and probe > now), default=None)

    def limit_to(self, priorities: Collection[Priority]) -> None:
        """Claim only emails of these priorities."""
        for delivery in self._deliveries:
            delivery.limit_to(priorities)

    async def claim(self) -> bool:
        """Claim emails for the first relay that is available, and at most some probes for each unavailable relay before it.

        Return whether all claimed emails were suppressed or too old, but more are due.
        """
        is_covered = has_more = False
        for delivery in self._deliveries:
            if is_covered:
                delivery.may_have_more = delivery.has_backlog = False  # this relay is not used at present
            else:
                has_more = await delivery.claim()
            is_covered = is_covered or not delivery.breaker.failures
        return has_more

    def expect_more(self, *, expected: bool) -> None:
        """Set whether more emails may be due than the last claim took."""
        for delivery in self._deliveries:
            delivery.may_have_more = expected and not delivery.breaker.failures

    async def release_waiting(self) -> None:
        """Release the claims on all emails that wait for a connection."""
        for delivery in self._deliveries:
            await delivery.release_waiting()

    async def stop(self) -> None:
        """Abort emails that are being sent, close the connections, and delete the stored outages of this worker."""
        await asyncio.gather(*(pool.stop() for pool in self._pools))
        for delivery in self._deliveries:
            await delivery.forget_outage()
