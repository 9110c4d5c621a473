"""The engine in a process of its own, beside the server's: the API answers more quickly while mail is delivered."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from project.bridge.companion import Companion, Link
from project.env import BASE_DIR
from project.outbox import measures
from project.outbox.engine import Engine, hearing_here
from project.outbox.events import committed

COMMAND = [sys.executable, str(BASE_DIR / "manage.py"), "deliver", "--companion"]
AT_MOST_EVERY = 0.02  # seconds: what is committed meanwhile is told together, since each time holds the server up


class EngineApart(Engine):
    """Starts `manage.py deliver` with the lifespan, wakes it, hears what it did, and ends it. One per application."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._companion = Companion(COMMAND, _hear)

    @property
    def healthy(self) -> bool:
        """Whether the other process says that its loop runs."""
        return self._companion.is_alive

    async def deliver_soon(self) -> None:
        """For a background task: where no lifespan runs, deliver what is due now. The other process knows already."""
        if not self._companion.is_kept:
            await super().deliver_soon()

    @asynccontextmanager
    async def running(self, *, grace: float) -> AsyncIterator[None]:
        """For the lifespan: the other process delivers while this is open. It then has `grace` seconds for what is in hand."""
        async with self._companion.running(grace=grace):
            with hearing_here(self._companion.tell):
                yield


@asynccontextmanager
async def telling(server: Link) -> AsyncIterator[None]:
    """For the other process: tell the server what events are committed while this is open."""
    loop, something, waiting = asyncio.get_running_loop(), asyncio.Event(), list[measures.Counts]()

    def take(counts: measures.Counts) -> None:
        waiting.append(counts)
        something.set()

    def tell() -> None:
        if waiting:
            server.tell(json.dumps(measures.merged(waiting)))
            waiting.clear()

    async def tell_on() -> None:
        while True:
            await something.wait()
            something.clear()
            tell()
            await asyncio.sleep(AT_MOST_EVERY)

    with measures.counted.listening(lambda counts: loop.call_soon_threadsafe(take, counts)):
        telling_on = asyncio.create_task(tell_on())
        try:
            yield
        finally:
            telling_on.cancel()
            await asyncio.gather(telling_on, return_exceptions=True)
            tell()


def _hear(counts: str) -> None:
    """It has committed events."""
    measures.count_all(measures.Counts(*json.loads(counts)))
    committed.tell()
