"""One run of an engine: look what is due, claim it, send it."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery.circuit_breaker import CircuitBreaker, save_outage
from project.delivery.claim import claim_emails, next_due_at, release_claims, renew_leases, requeue_abandoned
from project.delivery.liveness import dead_workers, live_workers, remove_dead
from project.delivery.sender_pool import SenderPool
from project.emails.models import Email
from project.transports.factory import create_transport
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_SECONDS = 5.0  # seconds
MIN_POLL_INTERVAL_SECONDS = 0.02  # seconds between looks that find little: what is accepted meanwhile is claimed together
FAST_RELAY_SECONDS = 0.25  # seconds in which a quick relay is done with what was claimed: it is given twice as many
MAX_QUEUED_EMAILS = 256  # mails that wait for a channel; a slow relay is never given so many

P = ParamSpec("P")
T = TypeVar("T")


class DeliveryLoop:
    """The engine called `name` at work. It begins with `start` or `deliver_what_is_due`, and ends with `finish`."""

    def __init__(self, name: str, folder: Path, *, poll_interval: float) -> None:
        self._name = name
        self._folder = folder
        self._look_every = poll_interval
        self._breaker = CircuitBreaker()
        self._senders = SenderPool(create_transport(), self._on_result)
        self._depth = 2 * self._senders.max_connections  # mails to have in hand
        self._wanted = asyncio.Event()  # there is something to look at
        self._giving_back = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._ending = False
        self._more = False  # the last look found something: there may be more
        self._claimed_at = self._swept_at = -math.inf

    @property
    def is_looking(self) -> bool:
        """Whether its loop runs."""
        return self._looking is not None and not self._looking.done()

    def start(self) -> None:
        """Look for what is due until `finish`."""
        self._looking = asyncio.create_task(self._look_forever())

    def wake(self) -> None:
        """Look now: something was accepted."""
        self._wanted.set()

    async def deliver_what_is_due(self) -> None:
        """Deliver until nothing more is due, or the relay does not work."""
        await self._sweep()
        while True:
            self._wanted.clear()
            await self._claim()
            if self._breaker.failures or not self._senders.in_flight:
                return
            await self._wanted.wait()

    async def finish(self, grace: float) -> None:
        """Let what is in hand be sent within `grace` seconds, and put the rest back."""
        deadline = time.monotonic() + grace
        self._ending = True
        self.wake()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=grace)
            self._looking.cancel()
        while self._senders.in_flight and (left := deadline - time.monotonic()) > 0:
            self._wanted.clear()
            await _wait(self._wanted, left)
        await self._give_back()
        if self._senders.in_flight:
            logger.error("%d mails in hand after %g s of grace: the next start sends them again", self._senders.in_flight, grace)
        await self._senders.stop()
        if self._breaker.failures:
            await self._attempt(save_outage, self._name, CircuitBreaker(), now=timezone.now())

    async def _look_forever(self) -> None:
        while not self._ending:
            self._wanted.clear()
            await self._look()
            await _wait(self._wanted, await self._seconds_until_something_is_due())
            if not self._more:
                await asyncio.sleep(MIN_POLL_INTERVAL_SECONDS - (time.monotonic() - self._claimed_at))
        await self._look()  # what was accepted just before the end still goes

    async def _look(self) -> None:
        try:
            await self._sweep()
            await self._claim()
        except Exception:
            self._more = False
            logger.exception("The engine will look again in %g s", self._look_every)

    async def _sweep(self) -> None:
        """Now and then, say that this engine is alive, and put back what no living one has in hand."""
        if time.monotonic() < self._swept_at + SWEEP_INTERVAL_SECONDS:
            return
        if held := list(self._senders.in_flight_ids):
            await run_in_transaction(renew_leases, self._name, held, now=timezone.now())
        others = [name for name in live_workers(self._folder) if name != self._name]  # its own may be lost mails
        dead = dead_workers(self._folder)
        if count := await run_in_transaction(requeue_abandoned, dead, live=others, now=timezone.now()):
            logger.warning("Put %d abandoned mails back into the queue", count)
        remove_dead(dead, self._folder)
        self._swept_at = time.monotonic()

    async def _claim(self) -> None:
        """Take in hand as many as there is room for."""
        if not self._has_room:
            return
        room = self._breaker.capacity(
            self._depth - self._senders.in_flight, in_flight=self._senders.in_flight, now=timezone.now()
        )
        emails = await run_in_transaction(self._claim_in_turn, room) if room else []
        self._senders.submit(emails)
        if not self._breaker.capacity(1, in_flight=0, now=timezone.now()):
            await self._give_back()  # a pause began while they were claimed
        self._more = bool(emails)
        was_quick, self._claimed_at = time.monotonic() < self._claimed_at + FAST_RELAY_SECONDS, time.monotonic()
        if emails and len(emails) == room:
            self._depth = self._depth * 2 if was_quick else self._depth // 2
            self._depth = min(
                max(self._depth, 2 * self._senders.max_connections), self._senders.max_connections + MAX_QUEUED_EMAILS
            )

    def _claim_in_turn(self, room: int) -> list[Email]:
        """With the time of the turn: what is claimed may have been accepted while this one waited for it."""
        return claim_emails(self._name, limit=room, now=timezone.now())

    @property
    def _has_room(self) -> bool:
        """Whether a claim is worth its transaction. While there is none, all channels are busy."""
        return self._senders.in_flight <= self._depth // 2

    async def _seconds_until_something_is_due(self) -> float:
        """How long the loop may wait: until the time of what waits for one, and never longer than `look_every`."""
        due = self._breaker.next_probe_at
        if due is None and not self._more:
            due = await self._attempt(next_due_at)
        return self._look_every if due is None else min(max((due - timezone.now()).total_seconds(), 0.0), self._look_every)

    async def _on_result(self, result: SendResult) -> None:
        if update_breaker(self._breaker, result, now=timezone.now()):
            if self._breaker.next_probe_at is not None:
                logger.error("The relay does not work; the next try is at %s", f"{self._breaker.next_probe_at:%H:%M:%S}")
                await self._give_back()
            await self._attempt(save_outage, self._name, self._breaker, now=timezone.now())
            self.wake()
        if not self._senders.in_flight or (self._more and self._has_room):
            self.wake()

    async def _give_back(self) -> None:
        async with self._giving_back:  # `finish` waits for one that is under way, before it stops whoever is at it
            if emails := self._senders.withdraw():
                await self._attempt(release_claims, emails, now=timezone.now())

    async def _attempt(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Ask the database. None if it fails: the next sweep mends what was not written."""
        try:
            return await run_in_transaction(function, *args, **kwargs)
        except Exception:
            logger.exception("The engine could not %s", function.__name__.replace("_", " "))
            return None


async def _wait(wanted: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: in Python 3.11 it may swallow a cancellation
            await wanted.wait()


def update_breaker(breaker: CircuitBreaker, result: SendResult, *, now: datetime) -> bool:
    """Record a result. Any reply about an email shows that the relay works. Return whether the breaker's state changed."""
    if result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE:
        return breaker.record_failure(result.error, now=now)
    return breaker.record_success()
