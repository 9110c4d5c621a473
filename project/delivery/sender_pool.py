"""Sending what was claimed: as many mails at the same time as the transport has connections.

A connection takes its next mail only when the outcome of the one before is committed. So no more mails than there are connections
can be in a relay's hands without our knowing, whenever this process dies.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from django.utils import timezone

from project.bridge.database.group_commit import GroupCommit
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.delivery.claim import LEASE
from project.delivery.decision import DeliveryDecision
from project.delivery.record_results import Attempt, LeaseLost, record_results
from project.emails.models import Email
from project.emails.status import Status
from project.transports.base import Connection, Transport, failed_result
from project.transports.factory import is_local_only
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind

logger = logging.getLogger(__name__)

IDLE_TIMEOUT_SECONDS = 10.0  # seconds until a connection that nobody needs is closed
RECORD_RETRY_SECONDS = 1.0  # seconds until an outcome is written again that the database did not take
CONNECTION_LIMIT_PAUSE_SECONDS = 5.0  # seconds for which a connection stands back when the relay takes no more connections

OnResult = Callable[[SendResult], Awaitable[None]]


class SenderPool:
    """Workers, one for each connection of a transport. `on_outcome` hears of each outcome once it is committed."""

    def __init__(self, transport: Transport, on_result: OnResult) -> None:
        self.max_connections = transport.max_connections
        self.in_flight_ids: set[UUID] = set()  # mails that were given, and whose outcome is not yet recorded
        self._stood_back: set[UUID] = set()  # of these, the mails that got no connection while others were just getting one
        self._transport = transport
        self._on_outcome = on_result
        self._ready: asyncio.Queue[Email] = asyncio.Queue()
        self._commits: GroupCommit[Attempt, DeliveryDecision] = GroupCommit(record_results, most=256)
        self._connections = [transport.create_connection() for _ in range(transport.max_connections)]
        self._workers = [asyncio.create_task(self._work(connection)) for connection in self._connections]

    @property
    def in_flight(self) -> int:
        """How many mails were given, and are not yet recorded."""
        return len(self.in_flight_ids)

    @property
    def waiting(self) -> int:
        """How many mails no connection has begun to send."""
        return self._ready.qsize()

    def submit(self, emails: Iterable[Email]) -> None:
        """Send these."""
        for email in emails:
            self.in_flight_ids.add(email.id)
            self._ready.put_nowait(email)

    def withdraw(self) -> list[Email]:
        """Those that no connection has begun to send, which are then not sent."""
        emails = [self._ready.get_nowait() for _ in range(self._ready.qsize())]
        self.in_flight_ids.difference_update(email.id for email in emails)
        self._stood_back.difference_update(email.id for email in emails)
        return emails

    async def stop(self) -> None:
        """Send nothing more, and let go of the transport. What is being sent is cut off."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections))
        self._transport.close()

    async def _work(self, connection: Connection) -> None:
        while True:
            email = await self._next(connection)
            logger.info("Sending email %s", _describe(email))
            try:
                result = await connection.send(email)
            except Exception as error:  # as when there is no thread left. Unrecorded, the mail would be in hand for ever
                logger.exception("Email %s was not sent", email.id)
                result = failed_result(error, FailureKind.TEMPORARY)
            if result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE and self._is_to_stand_back(email):
                self._ready.put_nowait(email)  # the relay works, and takes no more connections than these
                await asyncio.sleep(CONNECTION_LIMIT_PAUSE_SECONDS)
                continue
            await self._record(email, result)

    def _is_to_stand_back(self, email: Email) -> bool:
        """Whether others have a connection, or are just getting one. The latter counts once: each may hope for the others."""
        is_open = any(other.is_open for other in self._connections)
        hopes = email.id not in self._stood_back and any(other.is_connecting for other in self._connections)
        if hopes and not is_open:
            self._stood_back.add(email.id)
        return is_open or hopes

    async def _next(self, connection: Connection) -> Email:
        if self._ready.empty():
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
                    return await self._ready.get()
            except TimeoutError:
                await connection.close()
        return await self._ready.get()

    async def _record(self, email: Email, result: SendResult) -> None:
        try:
            decision = await self._written(Attempt(email, result, timezone.now(), random.random()))  # noqa: S311  # spreads tries
        except LeaseLost:
            logger.warning("Email %s is in another engine's hands by now", email.id)
        except Exception:
            logger.exception("Email %s stays claimed until its lease runs out", email.id)
        else:
            _log_decision(email, decision)
        self.in_flight_ids.discard(email.id)
        self._stood_back.discard(email.id)
        await self._on_outcome(result)

    async def _written(self, attempt: Attempt) -> DeliveryDecision:
        """What became of the mail, once it is committed.

        While the database is away it is tried again, for as long as the lease holds: given up, the mail would be sent once more.
        """
        deadline = time.monotonic() + LEASE.total_seconds()
        tries = 0
        while True:
            try:
                return await self._commits.run(attempt)
            except (*DATABASE_UNAVAILABLE_ERRORS, OSError) as error:  # OSError: there is no descriptor left
                tries += 1
                if time.monotonic() > deadline:
                    raise
                if tries == 1:
                    logger.error("What became of email %s waits for the database: %s", attempt.email.id, type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(RECORD_RETRY_SECONDS)


def _log_decision(email: Email, decision: DeliveryDecision) -> None:
    if decision.status == Status.SENT:
        logger.info("Email sent successfully")
        return
    # The error's text may hold addresses: with a real transport it is for the database, and for debugging.
    error = decision.error if is_local_only() else _error_class(decision)
    logger.error("Email %s is %s: %s", email.id, decision.status, error)
    logger.debug("Why email %s is %s: %s", email.id, decision.status, decision.error)


def _error_class(decision: DeliveryDecision) -> str:
    """The error's class, or the codes of what the relay said: neither names anybody."""
    name, reply = decision.error.partition(":")[0], decision.reply
    if name.isidentifier():
        return name
    return f"{reply.code} {reply.enhanced}".rstrip() if reply else "refused"


def _describe(email: Email) -> str:
    if not is_local_only():
        return f"{email.id}"  # neither addresses nor texts of real mail in a log
    return f"to {', '.join(email.recipients)}: {_escape_controls(email.text)}"


def _escape_controls(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
