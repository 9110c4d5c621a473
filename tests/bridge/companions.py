"""Companions for tests: `python -m tests.bridge.companions echo|counting|stubborn`, with a link as standard input."""

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


async def counting() -> None:
    """For each line, a bounce."""
    async with beside_the_server() as server, server.beating(lambda: True):
        async for _ in server.lines():
            server.tell('[{"email.bounced": 1}, [["bounced", 550]], []]')


async def stubborn() -> None:
    """Does not end when it is told to."""
    async with beside_the_server() as server, server.beating(lambda: True):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"echo": echo, "counting": counting, "stubborn": stubborn}[sys.argv[1]]())
