"""Sending what was claimed: as many mails at the same time as the transport has channels.

A channel takes its next mail only when the outcome of the one before is committed. So no more mails than there are channels
can be in a relay's hands without our knowing, whenever this process dies.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from django.utils import timezone

from project.bridge.commits import SharedCommits
from project.bridge.database import AWAY
from project.outbox.claim import LEASE
from project.outbox.models import Email
from project.outbox.outcomes import Outcome, Verdict
from project.outbox.record import Attempt, NotInHand, record_outcomes
from project.outbox.retry import Fault
from project.outbox.states import Status
from project.outbox.transports.base import Channel, Transport, failed
from project.outbox.transports.choice import stays_here

logger = logging.getLogger(__name__)

IDLE = 10.0  # seconds until a connection that nobody needs is closed
RECORD_AGAIN = 1.0  # seconds until an outcome is written again that the database did not take
REST = 5.0  # seconds for which a channel stands back when the relay takes no more connections

OnOutcome = Callable[[Outcome], Awaitable[None]]


class Senders:
    """Workers, one for each channel of a transport. `on_outcome` hears of each outcome once it is committed."""

    def __init__(self, transport: Transport, on_outcome: OnOutcome) -> None:
        self.channels = transport.channels
        self.held: set[UUID] = set()  # mails that were given, and whose outcome is not yet recorded
        self._stood_back: set[UUID] = set()  # of these, the mails that got no connection while others were just getting one
        self._transport = transport
        self._on_outcome = on_outcome
        self._ready: asyncio.Queue[Email] = asyncio.Queue()
        self._commits: SharedCommits[Attempt, Verdict] = SharedCommits(record_outcomes, most=256)
        self._channels = [transport.channel() for _ in range(transport.channels)]
        self._workers = [asyncio.create_task(self._work(channel)) for channel in self._channels]

    @property
    def in_hand(self) -> int:
        """How many mails were given, and are not yet recorded."""
        return len(self.held)

    @property
    def waiting(self) -> int:
        """How many mails no channel has begun to send."""
        return self._ready.qsize()

    def give(self, emails: Iterable[Email]) -> None:
        """Send these."""
        for email in emails:
            self.held.add(email.id)
            self._ready.put_nowait(email)

    def take_back(self) -> list[Email]:
        """Those that no channel has begun to send, which are then not sent."""
        emails = [self._ready.get_nowait() for _ in range(self._ready.qsize())]
        self.held.difference_update(email.id for email in emails)
        self._stood_back.difference_update(email.id for email in emails)
        return emails

    async def stop(self) -> None:
        """Send nothing more, and let go of the transport. What is being sent is cut off."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))
        self._transport.close()

    async def _work(self, channel: Channel) -> None:
        while True:
            email = await self._next(channel)
            logger.info("Sending email %s", _described(email))
            try:
                outcome = await channel.send(email)
            except Exception as error:  # as when there is no thread left. Unrecorded, the mail would be in hand for ever
                logger.exception("Email %s was not sent", email.id)
                outcome = failed(error, Fault.MESSAGE_TRANSIENT)
            if outcome.error and outcome.fault == Fault.RELAY and self._is_to_stand_back(email):
                self._ready.put_nowait(email)  # the relay works, and takes no more connections than these
                await asyncio.sleep(REST)
                continue
            await self._record(email, outcome)

    def _is_to_stand_back(self, email: Email) -> bool:
        """Whether others have a connection, or are just getting one. The latter counts once: each may hope for the others."""
        is_open = any(other.is_open for other in self._channels)
        hopes = email.id not in self._stood_back and any(other.is_connecting for other in self._channels)
        if hopes and not is_open:
            self._stood_back.add(email.id)
        return is_open or hopes

    async def _next(self, channel: Channel) -> Email:
        if self._ready.empty():
            try:
                async with asyncio.timeout(IDLE):
                    return await self._ready.get()
            except TimeoutError:
                await channel.close()
        return await self._ready.get()

    async def _record(self, email: Email, outcome: Outcome) -> None:
        try:
            judgement = await self._written(Attempt(email, outcome, timezone.now(), random.random()))  # noqa: S311  # spreads tries
        except NotInHand:
            logger.warning("Email %s is in another engine's hands by now", email.id)
        except Exception:
            logger.exception("Email %s stays claimed until its lease runs out", email.id)
        else:
            _log(email, judgement)
        self.held.discard(email.id)
        self._stood_back.discard(email.id)
        await self._on_outcome(outcome)

    async def _written(self, attempt: Attempt) -> Verdict:
        """What became of the mail, once it is committed.

        While the database is away it is tried again, for as long as the lease holds: given up, the mail would be sent once more.
        """
        deadline = time.monotonic() + LEASE.total_seconds()
        tries = 0
        while True:
            try:
                return await self._commits.run(attempt)
            except (*AWAY, OSError) as error:  # OSError: there is no descriptor left
                tries += 1
                if time.monotonic() > deadline:
                    raise
                if tries == 1:
                    logger.error("What became of email %s waits for the database: %s", attempt.email.id, type(error).__name__)  # noqa: TRY400
            await asyncio.sleep(RECORD_AGAIN)


def _log(email: Email, judgement: Verdict) -> None:
    if judgement.status == Status.SENT:
        logger.info("Email sent successfully")
        return
    # The error's text may hold addresses: with a real transport it is for the database, and for debugging.
    error = judgement.error if stays_here() else _kind(judgement)
    logger.error("Email %s is %s: %s", email.id, judgement.status, error)
    logger.debug("Why email %s is %s: %s", email.id, judgement.status, judgement.error)


def _kind(judgement: Verdict) -> str:
    """The error's class, or the codes of what the relay said: neither names anybody."""
    name, reply = judgement.error.partition(":")[0], judgement.reply
    if name.isidentifier():
        return name
    return f"{reply.code} {reply.enhanced}".rstrip() if reply else "refused"


def _described(email: Email) -> str:
    if not stays_here():
        return f"{email.id}"  # neither addresses nor texts of real mail in a log
    return f"to {', '.join(email.recipients)}: {_one_line(email.text)}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
