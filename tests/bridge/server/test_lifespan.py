"""The lifespan protocol. The tests in tests/servers check with real servers that the lifespan runs at the right time."""

import asyncio

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from project.bridge.server.lifespan import StartupFailed, run_lifespan
from tests.processes import WAIT_TIMEOUT_SECONDS

pytestmark = pytest.mark.anyio


async def good(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop normally."""
    scope["state"]["answer"] = 42
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["stopped"] = True
    await send({"type": "lifespan.shutdown.complete"})


async def fails_to_start(_scope: Scope, receive: Receive, send: Send) -> None:
    """Report a failed startup, then wait for a shutdown event that never comes, as the specification's example does."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "Traceback:\n  all of it\nout of order\n"})
    await receive()


async def fails_to_stop(_scope: Scope, receive: Receive, send: Send) -> None:
    """Start normally, and raise at shutdown."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ZeroDivisionError


async def raises(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Raise instead of sending a response."""
    await receive()
    raise ZeroDivisionError


async def returns(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Return without sending a response."""


async def test_starts_yields_the_state_and_stops() -> None:
    async with run_lifespan(good) as state:
        while_running = dict(state)

    assert while_running == {"answer": 42}
    assert state["stopped"]


async def test_stops_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        async with run_lifespan(good) as state:
            raise ZeroDivisionError

    assert state["stopped"]


async def test_raises_and_logs_a_failed_startup(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StartupFailed, match=r"^out of order$"):
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS), run_lifespan(fails_to_start):
            pytest.fail("it did not start")

    assert "all of it" in caplog.text


@pytest.mark.parametrize("app", [raises, returns])
async def test_runs_an_application_without_lifespan_support(app: ASGIApp) -> None:
    async with run_lifespan(app) as state:
        served = True

    assert (served, state) == (True, {})


async def test_raises_an_exception_at_shutdown() -> None:
    with pytest.raises(ZeroDivisionError):
        async with run_lifespan(fails_to_stop):
            pass
