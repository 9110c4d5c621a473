"""Re-authorization of open event streams: a stream ends when its key is revoked, its session ends or its permissions change."""

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
RECHECK_INTERVAL_SECONDS = 4.0  # for credentials that expire; project.auth.credential_changes announces all other changes

Reauthenticate = Callable[[], Awaitable[Principal | None]]


async def authorize_stream(reauthenticate: Reauthenticate) -> Principal:
    """Return the principal if it may read events. Raises `NotAuthenticated` or `InsufficientScope`."""
    principal = await reauthenticate()
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    principal.require(EVENTS_SCOPE)
    return principal


async def wait_until_revoked(reauthenticate: Reauthenticate, principal: Principal) -> DomainError:
    """Wait until the principal may no longer read events, or may read other events than before. Return the reason."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    expires_at = principal.expires_at
    with credentials_changed.subscribed(lambda: loop.call_soon_threadsafe(changed.set)):
        while True:
            try:
                current = await authorize_stream(reauthenticate)
            except (NotAuthenticated, InsufficientScope) as rejection:
                return rejection
            except Exception:  # such as a database outage, which must not close streams
                logger.exception("Could not re-authorize an event stream; trying again")
                expires_at = None
            else:
                if (current.owner_id, current.can_view_all) != (principal.owner_id, principal.can_view_all):
                    return NotAuthenticated("Your permissions have changed.")
                expires_at = current.expires_at
            await _wait(changed, expires_at)


async def _wait(changed: asyncio.Event, expires_at: datetime | None) -> None:
    seconds = (
        RECHECK_INTERVAL_SECONDS
        if expires_at is None
        else min(RECHECK_INTERVAL_SECONDS, max(0.0, (expires_at - datetime.now(UTC)).total_seconds()))
    )
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: it may swallow a cancellation in Python 3.11
            await changed.wait()
    changed.clear()


@asynccontextmanager
async def close_when_revoked(reauthenticate: Reauthenticate, principal: Principal, subscriber: Subscriber) -> AsyncIterator[None]:
    """While this context is open, end the subscription when the principal may no longer read its events."""

    async def end_when_revoked() -> None:
        await wait_until_revoked(reauthenticate, principal)
        subscriber.end()

    task = asyncio.create_task(end_when_revoked())
    try:
        yield
    finally:
        task.cancel()
