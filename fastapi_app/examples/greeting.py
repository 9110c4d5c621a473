"""Asyncio: many at once, in one thread."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi_app.examples.schemas import Greeting


async def greet(name: str, pause: float) -> Greeting:
    """Say hello, wait `pause` seconds, say goodbye."""
    hello_at = datetime.now(UTC)
    await asyncio.sleep(pause)  # whoever else is to be greeted has a turn meanwhile
    return Greeting(
        name=name,
        hello=f"Hello, {name}!",
        goodbye=f"Goodbye, {name}!",
        hello_at=hello_at,
        goodbye_at=datetime.now(UTC),
    )


async def greet_all(names: Sequence[str], pause: float) -> list[Greeting]:
    """Greet everyone at the same time: it takes one pause, however many they are."""
    return await asyncio.gather(*(greet(name, pause) for name in names))
