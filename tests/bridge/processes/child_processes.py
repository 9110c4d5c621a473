"""Companions for tests: `python -m tests.bridge.processes.child_processes echo|counting|stubborn`, with a link as standard input."""

import asyncio
import sys

from project.bridge.processes.supervised_process import connect_to_supervisor


async def echo() -> None:
    """Say each line back, and at the end that it is the end."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        server.send("hello")
        async for line in server.lines():
            server.send(f"{line}, too")
        server.send("the end")


async def counting() -> None:
    """For each line, a bounce."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        async for _ in server.lines():
            server.send('[{"email.bounced": 1}, [["bounced", 550]], []]')


async def stubborn() -> None:
    """Does not end when it is told to."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"echo": echo, "counting": counting, "stubborn": stubborn}[sys.argv[1]]())
