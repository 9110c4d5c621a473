"""Streams with the same credential share their checks of the credential."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fastapi_app.events import reauthorization
from fastapi_app.events.reauthorization import share_checks, wait_until_revoked
from project.auth.credential_changes import credentials_changed
from project.auth.principal import NotAuthenticated, Principal

pytestmark = pytest.mark.anyio
SHOP = Principal("key", "shop", frozenset({"events:read"}), owner_id="key:1")


class Credentials:
    """Counts the checks of a credential. A check returns `principal`, or raises it if it is an exception."""

    def __init__(self) -> None:
        self.checks = 0
        self.principal: Principal | Exception = SHOP

    async def check(self) -> Principal:
        """Return the principal, after other tasks could run."""
        self.checks += 1
        principal = self.principal
        await asyncio.sleep(0)
        if isinstance(principal, Exception):
            raise principal
        return principal


@pytest.fixture
def credentials() -> Iterator[Credentials]:
    """Return a credential that was not checked yet."""
    reauthorization._shared_checks.clear()
    yield Credentials()
    reauthorization._shared_checks.clear()


async def test_a_hundred_streams_share_one_check(credentials: Credentials) -> None:
    streams = [share_checks(credentials.check, credential="Bearer one") for _ in range(100)]

    at_once = await asyncio.gather(*(check() for check in streams))
    later = await streams[0]()

    assert (set(at_once), later, credentials.checks) == ({SHOP}, SHOP, 1)


async def test_streams_of_other_credentials_do_not_share_a_check(credentials: Credentials) -> None:
    for number in range(3):
        await share_checks(credentials.check, credential=f"Bearer {number}")()

    assert credentials.checks == 3


async def test_a_check_is_repeated_later(credentials: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthorization, "SHARED_SECONDS", 0.0)
    check = share_checks(credentials.check, credential="Bearer one")

    await check()
    await check()

    assert credentials.checks == 2


async def test_a_failed_check_is_repeated(credentials: Credentials) -> None:
    check = share_checks(credentials.check, credential="Bearer one")
    credentials.principal = OSError("the database is unavailable")
    with pytest.raises(OSError, match="unavailable"):
        await check()

    credentials.principal = SHOP

    assert await check() == SHOP


async def test_an_expired_credential_is_checked_again(credentials: Credentials) -> None:
    check = share_checks(credentials.check, credential="Bearer one")
    credentials.principal = Principal("key", "shop", frozenset(), expires_at=datetime.now(UTC) - timedelta(seconds=1))

    await check()
    await check()

    assert credentials.checks == 2


async def test_a_stream_that_closes_does_not_cancel_the_check_of_the_others(credentials: Credentials) -> None:
    check = share_checks(credentials.check, credential="Bearer one")
    first, second = asyncio.ensure_future(check()), asyncio.ensure_future(check())
    await asyncio.sleep(0)

    first.cancel()

    assert await second == SHOP


async def test_a_revocation_ends_all_streams_although_a_check_has_just_succeeded(credentials: Credentials) -> None:
    streams = [share_checks(credentials.check, credential="Bearer one") for _ in range(5)]
    waiting = [asyncio.ensure_future(wait_until_revoked(check, SHOP)) for check in streams]
    for _ in range(10):  # let all streams check once
        await asyncio.sleep(0)
    assert credentials.checks == 1

    credentials.principal = NotAuthenticated("The API key was revoked.")
    credentials_changed.send()
    reasons = await asyncio.gather(*waiting)

    assert {str(reason) for reason in reasons} == {"The API key was revoked."}
