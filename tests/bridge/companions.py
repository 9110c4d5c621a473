"""Companions for tests: `python -m tests.bridge.companions echo|stubborn`, with a link to the server as standard input."""

import asyncio
import sys

from project.bridge.companion import beside_the_server


async def echo() -> None:
    """Say each line back, and at the end that it is the end."""
    async with beside_the_server() as server, server.beating(lambda: True):
        server.tell("hello")
        async for line in server.lines():
            server.tell(f"{line}, too")
        server.tell("the end")


async def stubborn() -> None:
    """Does not end when it is told to."""
    async with beside_the_server() as server, server.beating(lambda: True):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"echo": echo, "stubborn": stubborn}[sys.argv[1]]())
