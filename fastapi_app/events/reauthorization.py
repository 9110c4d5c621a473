"""Who follows may be refused later: a key that was revoked, a session that ended. Then following ends too."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from project.auth.credential_changes import credentials_changed
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal
from project.errors import DomainError
from project.events.stream import Subscriber

logger = logging.getLogger(__name__)

EVENTS_SCOPE = "events:read"
RECHECK_INTERVAL_SECONDS = 4.0  # seconds: for what ends by time alone; what is changed is told (project.auth.credential_changes)

Reauthenticate = Callable[[], Awaitable[Principal | None]]


async def authorize_stream(ask: Reauthenticate) -> Principal:
    """Who follows, if that is still allowed. Raises `NotAuthenticated`, `MissingScope`."""
    principal = await ask()
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    principal.require(EVENTS_SCOPE)
    return principal


async def wait_until_revoked(ask: Reauthenticate, principal: Principal) -> DomainError:
    """Wait until it is no longer allowed, or `who` it was may see something else. Gives why."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    until = principal.expires_at
    with credentials_changed.subscribed(lambda: loop.call_soon_threadsafe(told.set)):
        while True:
            try:
                now = await authorize_stream(ask)
            except (NotAuthenticated, InsufficientScope) as refusal:
                return refusal
            except Exception:  # the database is away: nobody is sent off for that
                logger.exception("Could not ask again who follows")
                until = None
            else:
                if (now.owner_id, now.can_view_all) != (principal.owner_id, principal.can_view_all):
                    return NotAuthenticated("What you may see has changed.")
                until = now.expires_at
            await _wait(told, until)


async def _wait(told: asyncio.Event, until: datetime | None) -> None:
    seconds = (
        RECHECK_INTERVAL_SECONDS
        if until is None
        else min(RECHECK_INTERVAL_SECONDS, max(0.0, (until - datetime.now(UTC)).total_seconds()))
    )
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: Python 3.11's may swallow a cancellation
            await told.wait()
    told.clear()


@asynccontextmanager
async def close_when_revoked(ask: Reauthenticate, principal: Principal, subscriber: Subscriber) -> AsyncIterator[None]:
    """While this is open, end the follower when it is no longer allowed."""

    async def end() -> None:
        await wait_until_revoked(ask, principal)
        subscriber.end()

    task = asyncio.create_task(end())
    try:
        yield
    finally:
        task.cancel()
