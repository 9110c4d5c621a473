"""Re-authorization of open event streams: a stream ends when its key is revoked, its session ends or its permissions change."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from random import random

from fastapi.requests import HTTPConnection

from project.auth.credential_changes import credentials_changed
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal
from project.errors import DomainError
from project.events.stream import Subscriber

logger = logging.getLogger(__name__)

EVENTS_SCOPE = "events:read"
RECHECK_INTERVAL_SECONDS = 4.0  # for credentials that expire; project.auth.credential_changes announces all other changes
RECHECK_JITTER = 0.25  # each wait is up to a quarter shorter, so that streams that were opened together do not stay together
SHARED_SECONDS = 2.0  # how long streams with the same credential share one check
MAX_SHARED_CHECKS = 10_000

Reauthenticate = Callable[[], Awaitable[Principal | None]]

_Check = asyncio.Future[Principal | None]
_shared_checks: dict[str, tuple[_Check, float]] = {}  # by a hash of the credential, with the time of the check's start


def share_checks(reauthenticate: Reauthenticate, *, credential: str) -> Reauthenticate:
    """Return a function that shares its checks with the other streams of the same credential, until credentials change."""
    key = sha256(credential.encode()).hexdigest()  # so that no secret is stored

    async def reauthenticate_once() -> Principal | None:
        now = asyncio.get_running_loop().time()
        check, started_at = _shared_checks.get(key, (None, 0.0))
        if check is None or now >= started_at + SHARED_SECONDS or not _is_reusable(check):
            if len(_shared_checks) >= MAX_SHARED_CHECKS:
                _shared_checks.clear()
            check = asyncio.ensure_future(reauthenticate())
            check.add_done_callback(_is_reusable)  # retrieves the exception, because all streams may be gone by then
            _shared_checks[key] = check, now
        return await asyncio.shield(check)

    return reauthenticate_once


def credential_of(connection: HTTPConnection) -> str:
    """Return the credential of a stream: its Authorization header, or otherwise its cookies."""
    return connection.headers.get("authorization") or connection.headers.get("cookie", "")


def _is_reusable(check: _Check) -> bool:
    """Return whether a check of this event loop is running, or has found a credential that is still valid."""
    if not check.done():
        return check.get_loop() is asyncio.get_running_loop()
    if check.cancelled() or check.exception() is not None or check.get_loop() is not asyncio.get_running_loop():
        return False
    principal = check.result()
    return principal is not None and (principal.expires_at is None or datetime.now(UTC) < principal.expires_at)


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

    def check_again() -> None:
        _shared_checks.clear()
        changed.set()

    with credentials_changed.subscribed(lambda: loop.call_soon_threadsafe(check_again)):
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
    seconds = RECHECK_INTERVAL_SECONDS * (1 - RECHECK_JITTER * random())  # noqa: S311  # not a secret
    if expires_at is not None:
        seconds = min(seconds, max(0.0, (expires_at - datetime.now(UTC)).total_seconds()))
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
