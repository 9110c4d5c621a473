"""What must work for the service to be of use."""

import asyncio
from collections.abc import Awaitable, Callable

from project.bridge import database, hints
from project.outbox.engine import Engine

PATIENCE = 2.0  # seconds for each


class Unwell(Exception):
    """A check's finding, for people."""


async def findings(engine: Engine) -> dict[str, str]:
    """Each part's state: "ok", or what is wrong with it."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": lambda: database.run(database.ping),
        "channel_layer": hints.echo,
        "engine": lambda: _engine(engine),
    }
    found = await asyncio.gather(*(_finding(check()) for check in checks.values()))
    return dict(zip(checks, found, strict=True))


async def _finding(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, PATIENCE)
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    except Unwell as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        return type(error).__name__  # not its text: the answer is public, and may name hosts
    return "ok"


async def _engine(engine: Engine) -> None:
    if not engine.healthy:
        raise Unwell("not running")
