"""The engine in a process of its own, beside the server's: the API answers twice as quickly while mail is delivered."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from project.bridge.companion import Companion
from project.env import BASE_DIR
from project.outbox import measures
from project.outbox.engine import Engine, hearing_here
from project.outbox.events import committed

COMMAND = [sys.executable, str(BASE_DIR / "manage.py"), "deliver", "--companion"]


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


def _hear(counts: str) -> None:
    """It has committed events."""
    measures.count_told(counts)
    committed.tell()
