"""Speaking the lifespan protocol. That it is spoken at the right time is tested against real servers."""

import asyncio

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from project.bridge.server.lifespan import StartupFailed, run_lifespan
from tests.processes import PATIENCE

pytestmark = pytest.mark.anyio


async def good(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop."""
    scope["state"]["answer"] = 42
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["stopped"] = True
    await send({"type": "lifespan.shutdown.complete"})


async def refuses(_scope: Scope, receive: Receive, send: Send) -> None:
    """Fail by message, and go on as the specification's example does: there is no shutdown to come."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "Traceback:\n  all of it\nout of order\n"})
    await receive()


async def fails_to_stop(_scope: Scope, receive: Receive, send: Send) -> None:
    """Start, and fail at the end."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ZeroDivisionError


async def raises(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Fail by exception."""
    await receive()
    raise ZeroDivisionError


async def ends(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Say nothing."""


async def test_starts_gives_the_state_and_stops() -> None:
    async with run_lifespan(good) as state:
        while_running = dict(state)

    assert while_running == {"answer": 42}
    assert state["stopped"]


async def test_stops_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        async with run_lifespan(good) as state:
            raise ZeroDivisionError

    assert state["stopped"]


async def test_a_start_up_that_fails_is_raised_and_its_reason_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StartupFailed, match=r"^out of order$"):
        async with asyncio.timeout(PATIENCE), run_lifespan(refuses):
            pytest.fail("it did not start")

    assert "all of it" in caplog.text


@pytest.mark.parametrize("app", [raises, ends])
async def test_an_application_that_knows_no_lifespan_is_served_without(app: ASGIApp) -> None:
    async with run_lifespan(app) as state:
        served = True

    assert (served, state) == (True, {})


async def test_a_shut_down_that_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        async with run_lifespan(fails_to_stop):
            pass
