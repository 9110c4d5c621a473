"""Child processes for tests, with the control pipe as standard input.

Run one with `python -m tests.bridge.processes.child_processes echo|counting|stubborn`.
"""

import asyncio
import sys

from project.bridge.processes.supervised_process import connect_to_supervisor


async def echo() -> None:
    """Send a first line, send each received line back with a suffix, and send a last line at the end."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        server.send("hello")
        async for line in server.lines():
            server.send(f"{line}, too")
        server.send("the end")


async def counting() -> None:
    """Report one bounced email for each received line, in the format of the delivery worker."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        async for _ in server.lines():
            server.send('[{"email.bounced": 1}, [["bounced", 550]], []]')


async def stubborn() -> None:
    """Never exit."""
    async with connect_to_supervisor() as server, server.heartbeats(lambda: True):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run({"echo": echo, "counting": counting, "stubborn": stubborn}[sys.argv[1]]())
