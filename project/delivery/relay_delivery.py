"""Delivery through one transport: claims emails, sends them, and pauses while the relay is unavailable."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from uuid import UUID

from django.utils import timezone

from project.bridge.database.read_transactions import run_in_read_transaction
from project.bridge.database.transactions import run_in_transaction
from project.delivery.circuit_breaker import MIN_SUSPECTED_EMAILS, CircuitBreaker, requested_probe, save_outage, update_breaker
from project.delivery.claim import claim_emails, has_due_emails, release_claims
from project.delivery.claim_budget import ClaimBudget, ClaimRequest
from project.delivery.lanes import lanes_with_due_emails
from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.optional_queries import try_query
from project.delivery.sender_pool import SenderPool
from project.emails.models import Email
from project.emails.priority import Priority
from project.transports.base import Transport
from project.transports.result import SendResult

logger = logging.getLogger("project.delivery.loop")

RECHECK_SECONDS = 0.1  # while claimed emails wait for a connection
URGENT_RECHECK_SECONDS = 0.02  # between searches for urgent emails while all connections are busy


class RelayDelivery:
    """Delivers emails of the queue through one transport, for one worker."""

    def __init__(
        self,
        worker: str,
        transport: Transport,
        keeper: LeaseKeeper,
        *,
        wake: Callable[[], None],
        in_flight_ids: Callable[[], Collection[UUID]],
    ) -> None:
        """Create the sender pool of the transport. `wake` is called when a claim may find room for more emails.

        `in_flight_ids` returns the emails in flight of this worker through any transport.
        """
        self._worker = worker
        self._relay = transport.name
        self._in_flight_ids = in_flight_ids
        self._keeper = keeper
        self._wake = wake
        self.pool = SenderPool(transport, self._on_result, guard=keeper, on_lost=wake)
        self.breaker = CircuitBreaker(max_suspected=max(MIN_SUSPECTED_EMAILS, 2 * self.pool.max_connections))
        self.may_have_more = False  # the last claim took emails, so there may be more
        self.has_backlog = False  # the last claim took as many emails as it could
        self.results = 0  # how many emails have a result so far
        self._budget = ClaimBudget(self.pool)
        self._release_lock = asyncio.Lock()
        self._claimed_at = self._searched_at = -math.inf
        self._is_search_due = False

    @property
    def seconds_since_claim(self) -> float:
        """Return the seconds since the last claim."""
        return time.monotonic() - self._claimed_at

    @property
    def recheck_seconds(self) -> float:
        """Return the seconds until the next claim while claimed emails wait for a connection."""
        return URGENT_RECHECK_SECONDS if self._is_search_due else RECHECK_SECONDS

    def limit_to(self, priorities: Collection[Priority]) -> None:
        """Claim only emails of these priorities."""
        self._budget.priorities = priorities

    async def claim(self) -> bool:
        """Claim as many emails as there is room for, and start sending them. Without room, claim only urgent emails.

        Return whether all claimed emails were suppressed or too old, but more are due.
        """
        request = self._budget.next_request()
        if request is None or (request.overtakes and not await self._has_urgent_emails(request)):
            return False
        if self.breaker.next_probe_at is not None:
            self.breaker.probe_by(await run_in_read_transaction(requested_probe, self._worker, self._relay))
        limit = self.breaker.capacity(request.limit, in_flight=self.pool.in_flight, now=timezone.now())
        request = replace(request, limit=limit)
        emails, has_more = await run_in_transaction(self._claim_now, request) if limit else ([], False)
        in_flight = self._in_flight_ids()  # an email that was taken over and claimed again may still be sent here
        self._keeper.claimed([email.id for email in emails])
        self.pool.submit(email for email in emails if email.id not in in_flight)
        if not self.breaker.capacity(1, in_flight=0, now=timezone.now()):
            await self.release_waiting()  # the breaker opened during the claim
        if not request.overtakes:
            self._adapt(limit, len(emails))
        return has_more and not emails

    async def _has_urgent_emails(self, request: ClaimRequest) -> bool:
        """Search for due emails of the priorities that may overtake others, but not too often: each new email wakes the loop."""
        self._is_search_due = time.monotonic() < self._searched_at + URGENT_RECHECK_SECONDS
        if self._is_search_due:
            return False
        self._searched_at = time.monotonic()
        return bool(await run_in_read_transaction(lanes_with_due_emails, now=timezone.now(), priorities=request.priorities))

    def _claim_now(self, request: ClaimRequest) -> tuple[list[Email], bool]:
        """Claim emails. Return them, and whether more emails may be due.

        The time is read after the wait for the write lock, because the emails may have been queued during that wait.
        """
        now = timezone.now()
        options = self._budget.options(self.breaker, request.priorities)
        lease = self._keeper.timing.duration
        emails = claim_emails(self._worker, limit=request.limit, now=now, lease=lease, options=options)
        return emails, bool(emails) or has_due_emails(self._worker, now=now, options=options)

    def _adapt(self, limit: int, claimed: int) -> None:
        self.may_have_more = claimed > 0
        previous, self._claimed_at = self._claimed_at, time.monotonic()
        self.has_backlog = claimed > 0 and claimed == limit
        if self.has_backlog:
            self._budget.adapt(seconds=self._claimed_at - previous)

    async def _on_result(self, email: Email, result: SendResult) -> None:
        self.results += 1
        # After a success, a closed breaker stays as it is.
        has_changed = bool(result.error) or not self.breaker.is_closed
        if has_changed and update_breaker(self.breaker, email.id, result, now=timezone.now()):
            if self.breaker.next_probe_at is not None:
                next_attempt = f"{self.breaker.next_probe_at:%H:%M:%S}"
                logger.error("The relay is unavailable: %s; next attempt at %s", self._relay, next_attempt)
                await self.release_waiting()
            await try_query(save_outage, self._worker, self._relay, self.breaker, now=timezone.now())
            self._wake()
        if not self.pool.in_flight or (self.may_have_more and self._budget.has_room):
            self._wake()

    async def release_waiting(self) -> None:
        """Release the claims on emails that wait for a connection."""
        async with self._release_lock:  # the loop must wait for a release in progress before it cancels the task that runs it
            if emails := self.pool.withdraw():
                await try_query(release_claims, self._worker, [email.id for email in emails], now=timezone.now())

    async def forget_outage(self) -> None:
        """Delete the stored outage of this worker, because the worker stops."""
        if self.breaker.failures:
            await try_query(save_outage, self._worker, self._relay, CircuitBreaker(), now=timezone.now())
