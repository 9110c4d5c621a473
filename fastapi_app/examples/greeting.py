"""Asyncio: many greetings at the same time, in one thread."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi_app.examples.schemas import Greeting


async def greet(name: str, pause: float) -> Greeting:
    """Say hello, wait `pause` seconds, say goodbye."""
    hello_at = datetime.now(UTC)
    await asyncio.sleep(pause)  # the other greetings run meanwhile
    return Greeting(
        name=name,
        hello=f"Hello, {name}!",
        goodbye=f"Goodbye, {name}!",
        hello_at=hello_at,
        goodbye_at=datetime.now(UTC),
    )


async def greet_all(names: Sequence[str], pause: float) -> list[Greeting]:
    """Greet all names concurrently, which takes one pause for any number of names."""
    return await asyncio.gather(*(greet(name, pause) for name in names))
