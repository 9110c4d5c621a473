"""Sends claimed emails, as many at the same time as the transport has connections.

A connection gets its next email only after the previous result is committed. So when this process dies, at most one email per
connection may have been accepted by the relay without a stored result.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from uuid import UUID

from django.utils import timezone

from project.bridge.database.group_commit import GroupCommit
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.bridge.middleware.request_id import set_request_id
from project.delivery.claim_guard import ClaimGuard
from project.delivery.decision import DeliveryDecision
from project.delivery.delivery_log import describe, log_decision
from project.delivery.lease import LEASE
from project.delivery.priority_turns import FROM_HIGH_TO_LOW
from project.delivery.record_results import Attempt, LeaseLost, record_results
from project.delivery.traced_sending import send_traced
from project.delivery.waiting_emails import WaitingEmails
from project.emails.models import Email
from project.emails.priority import Priority
from project.metrics.spans import is_tracing
from project.transports.base import Connection, Transport, failed_result
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind

logger = logging.getLogger(__name__)

MAX_BLOCKED_EMAILS = 256  # emails with slow recipients that are claimed beyond the other emails
IDLE_TIMEOUT_SECONDS = 10.0  # until an unused connection is closed
RECORD_RETRY_SECONDS = 1.0  # between attempts to store a result while the database is unavailable
STUCK_AFTER_SECONDS = 900.0  # longer than an email service takes to answer
CONNECTION_LIMIT_PAUSE_SECONDS = 5.0  # before a connection beyond the relay's limit tries again

OnResult = Callable[[Email, SendResult], Awaitable[None]]


class SenderPool:
    """One sender task per connection of a transport. `on_result` is called with each email and its result after the commit,
    and `on_lost` after an email was dropped because another worker has taken it over.
    """

    def __init__(self, transport: Transport, on_result: OnResult, *, guard: ClaimGuard, on_lost: Callable[[], None]) -> None:
        self.max_connections = transport.max_connections
        self._in_flight: dict[UUID, Email] = {}  # emails that were submitted and whose results are not stored yet
        self._priorities: Counter[str] = Counter()  # of the emails in flight
        self._retry_ids: set[UUID] = set()  # emails in flight that had an attempt before
        self._retried_ids: set[UUID] = set()  # emails in flight that failed while other connections were being opened
        self._transport = transport
        self._on_result, self._on_lost, self._guard = on_result, on_lost, guard
        self._sent_at = 0.0  # when sending an email last started, on the monotonic clock
        self._is_tracing = is_tracing()
        self._queue = WaitingEmails(transport.max_connections)
        self._commits: GroupCommit[Attempt, DeliveryDecision] = GroupCommit(record_results, max_items=256)
        self._connections = [transport.create_connection() for _ in range(transport.max_connections)]
        self._tasks = [asyncio.create_task(self._send_loop(connection)) for connection in self._connections]

    @property
    def in_flight_ids(self) -> frozenset[UUID]:
        """Return the emails that were submitted and whose results are not stored yet."""
        return frozenset(self._in_flight)

    @property
    def in_flight(self) -> int:
        """Return how many submitted emails have no stored result yet."""
        return len(self._in_flight)

    @property
    def waiting(self) -> int:
        """Return how many submitted emails wait for a connection."""
        return len(self._queue)

    @property
    def occupied(self) -> int:
        """Return how many emails in flight occupy a connection, or will occupy the next free one.

        Emails whose recipients respond slowly may wait although connections are free. A limited number of these is left out.
        """
        return self.in_flight - min(self._queue.blocked, MAX_BLOCKED_EMAILS)

    @property
    def retries_in_flight(self) -> int:
        """Return how many emails in flight had an attempt before."""
        return len(self._retry_ids)

    @property
    def is_high_expected(self) -> bool:
        """Return whether an email of high priority may follow soon."""
        return self._queue.is_high_expected

    def count_urgent(self, priority: Priority) -> int:
        """Return how many emails in flight have this priority or a higher one."""
        return sum(self._priorities[each] for each in FROM_HIGH_TO_LOW[: FROM_HIGH_TO_LOW.index(priority) + 1])

    @property
    def blocked_domains(self) -> frozenset[str]:
        """Return the domains of emails that wait because their recipients respond slowly, if these are many."""
        return self._queue.blocked_domains if self._queue.blocked >= self.max_connections else frozenset()

    @property
    def still_sending_ids(self) -> Collection[UUID]:
        """Return the emails that a thread still sends, even after `stop`. A thread cannot be stopped."""
        return self._transport.sending_ids

    @property
    def is_stuck(self) -> bool:
        """Return whether every connection waits for a thread that does not return, so that no more emails can be sent.

        A Django email backend may have no timeout. The SMTP transport has timeouts, and uses no threads.
        """
        is_full = len(self._transport.sending_ids) >= self.max_connections
        return is_full and time.monotonic() > self._sent_at + STUCK_AFTER_SECONDS

    def submit(self, emails: Iterable[Email]) -> None:
        """Queue emails for the next free connections.

        An email that is still in flight is not queued twice. It was taken over by another worker, and then claimed again.
        """
        for email in emails:
            if email.id not in self._in_flight:
                self._in_flight[email.id] = email
                self._priorities[email.priority] += 1
                self._queue.put(email)
                if email.attempts > 1:
                    self._retry_ids.add(email.id)

    def withdraw(self) -> list[Email]:
        """Remove and return the emails that wait for a connection. They are not sent."""
        emails = self._queue.take_all()
        for email in emails:
            self._discard(email.id)
        return emails

    async def stop(self) -> None:
        """Abort emails that are being sent, and close the connections and the transport."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections))
        self._transport.close()

    async def _send_loop(self, connection: Connection) -> None:
        while True:
            email = await self._next(connection)
            set_request_id(email.request_id)
            await self._deliver(connection, email)
            set_request_id(None)

    async def _deliver(self, connection: Connection, email: Email) -> None:
        """Send an email, and store its result. If the relay's connection limit is reached, put the email back and pause."""
        if not await self._guard.may_start(email.id):
            logger.warning("Email %s was taken over by another worker; it is not sent here", email.id)
            self._forget(email)
            self._queue.done(email, None)
            self._on_lost()
            return
        started_at = time.monotonic()
        result = await self._send(connection, email)
        if result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE and self._is_connection_limit(email):
            self._guard.ended(email.id)
            self._queue.done(email, None)
            self._queue.put(email)
            await asyncio.sleep(CONNECTION_LIMIT_PAUSE_SECONDS)
            return
        is_sent = not result.error or result.failure_kind != FailureKind.RELAY_UNAVAILABLE
        await self._record(email, result, seconds=time.monotonic() - started_at if is_sent else None)

    async def _send(self, connection: Connection, email: Email) -> SendResult:
        if logger.isEnabledFor(logging.INFO):
            logger.info("Sending email %s", describe(email), extra={"email_id": str(email.id)})
        self._guard.started(email.id)
        self._sent_at = time.monotonic()
        try:
            return await (send_traced(connection, email, self._transport.name) if self._is_tracing else connection.send(email))
        except Exception as error:  # a bug, or no thread could be started; without a result the email would stay in flight
            logger.exception("Email %s could not be sent", email.id)
            return failed_result(error, FailureKind.TEMPORARY)

    def _forget(self, email: Email) -> None:
        self._discard(email.id)
        self._guard.ended(email.id)

    def _discard(self, email_id: UUID) -> None:
        if (email := self._in_flight.pop(email_id, None)) is not None:
            self._priorities[email.priority] -= 1
        for ids in filter(None, (self._retried_ids, self._retry_ids)):  # nearly always empty
            ids.discard(email_id)

    def _is_connection_limit(self, email: Email) -> bool:
        """Return whether the error may only mean that the relay's connection limit is reached.

        This is possible only while other connections are open or being opened. If other connections are only being opened, an
        email is retried once, because otherwise connections could wait for each other forever.
        """
        is_open = any(other.is_open for other in self._connections)
        may_open = email.id not in self._retried_ids and any(other.is_connecting for other in self._connections)
        if may_open and not is_open:
            self._retried_ids.add(email.id)
        return is_open or may_open

    async def _next(self, connection: Connection) -> Email:
        if (email := self._queue.get_nowait()) is not None:  # a timeout for each email would take much of the loop's time
            return email
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
                return await self._queue.get()
        await connection.close()
        return await self._queue.get()

    async def _record(self, email: Email, result: SendResult, *, seconds: float | None) -> None:
        """Store a result. `seconds` is how long sending took, or None if the relay did not get the email."""
        relay, jitter = self._transport.name, random.random()  # noqa: S311  # not for security
        attempt = Attempt(email, result, timezone.now(), jitter, relay)
        try:
            decision = await self._commit(attempt)
        except LeaseLost:
            logger.warning("Email %s was claimed by another worker; this result is discarded", email.id)
        except Exception:
            logger.exception("Email %s stays claimed until its lease expires, because its result could not be stored", email.id)
        else:
            log_decision(email, decision, relay=relay, seconds=seconds)
        self._forget(email)
        self._queue.done(email, seconds)
        await self._on_result(email, result)

    async def _commit(self, attempt: Attempt) -> DeliveryDecision:
        """Store a result, and return the decision after the commit.

        While the database is unavailable, retry until the lease ends, because without a stored result the email is sent again.
        """
        deadline, failures = time.monotonic() + LEASE.total_seconds(), 0
        while True:
            try:
                return await self._commits.run(attempt)
            except (*DATABASE_UNAVAILABLE_ERRORS, OSError) as error:  # OSError: no file descriptors left
                failures += 1
                if time.monotonic() > deadline:
                    raise
                if failures == 1:
                    logger.error("The result of email %s waits for the database: %s", attempt.email.id, type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(RECORD_RETRY_SECONDS)
