"""Companions for tests: `python -m tests.bridge.companions echo|counting|stubborn|lingering`, with a link as standard input."""

import asyncio
import sys

from project.bridge import companion
from project.bridge.companion import beside_the_server


async def echo() -> None:
    """Say each line back, and at the end that it is the end."""
    async with beside_the_server() as server, server.beating(lambda: True):
        server.tell("hello")
        async for line in server.lines():
            server.tell(f"{line}, too")
        server.tell("the end")


async def counting() -> None:
    """For each line, a bounce."""
    async with beside_the_server() as server, server.beating(lambda: True):
        async for _ in server.lines():
            server.tell('[{"email.bounced": 1}, [["bounced", 550]], []]')


async def stubborn() -> None:
    """Does not end when it is told to."""
    async with beside_the_server() as server, server.beating(lambda: True):
        await asyncio.Event().wait()


async def lingering() -> None:
    """Goes on after the last line. If it may: it has no time at all, once the server was killed."""
    companion.ORPHANED = 0.0
    async with beside_the_server() as server:
        server.tell("hello")
        async for _ in server.lines():
            pass
        await asyncio.sleep(0.1)
        sys.stdout.write("went on")


if __name__ == "__main__":
    asyncio.run({"echo": echo, "counting": counting, "stubborn": stubborn, "lingering": lingering}[sys.argv[1]]())
