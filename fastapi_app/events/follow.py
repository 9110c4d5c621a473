"""Who follows may be refused later: a key that was revoked, a session that ended. Then following ends too."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from project.accounts.changes import changed
from project.accounts.principal import MissingScope, NotAuthenticated, Principal
from project.errors import Refusal
from project.outbox.live import Follower

logger = logging.getLogger(__name__)

EVENTS_READ = "events:read"
ASK_EVERY = 4.0  # seconds: for what ends by time alone; what is changed is told (project.accounts.changes)

Ask = Callable[[], Awaitable[Principal | None]]


async def allowed(ask: Ask) -> Principal:
    """Who follows, if that is still allowed. Raises `NotAuthenticated`, `MissingScope`."""
    principal = await ask()
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    principal.require(EVENTS_READ)
    return principal


async def refused(ask: Ask, who: Principal) -> Refusal:
    """Wait until it is no longer allowed, or `who` it was may see something else. Gives why."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    until = who.good_until
    with changed.listening(lambda: loop.call_soon_threadsafe(told.set)):
        while True:
            try:
                now = await allowed(ask)
            except (NotAuthenticated, MissingScope) as refusal:
                return refusal
            except Exception:  # the database is away: nobody is sent off for that
                logger.exception("Could not ask again who follows")
                until = None
            else:
                if (now.caller_id, now.sees_all) != (who.caller_id, who.sees_all):
                    return NotAuthenticated("What you may see has changed.")
                until = now.good_until
            await _wait(told, until)


async def _wait(told: asyncio.Event, until: datetime | None) -> None:
    seconds = ASK_EVERY if until is None else min(ASK_EVERY, max(0.0, (until - datetime.now(UTC)).total_seconds()))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: Python 3.11's may swallow a cancellation
            await told.wait()
    told.clear()


@asynccontextmanager
async def until_refused(ask: Ask, who: Principal, follower: Follower) -> AsyncIterator[None]:
    """While this is open, end the follower when it is no longer allowed."""

    async def end() -> None:
        await refused(ask, who)
        follower.end()

    task = asyncio.create_task(end())
    try:
        yield
    finally:
        task.cancel()
