"""Deletes data past its retention period once an hour, or with `manage.py prune`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.retention.expired_data import KINDS, ExpiredData

logger = logging.getLogger(__name__)

PRUNE_INTERVAL_SECONDS = 3600.0


class RetentionPruner:
    """Prunes once an hour. Create one pruner per application. The application's lifespan uses `running`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prune once an hour while this context is open."""
        task = asyncio.create_task(self._prune_loop())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _prune_loop(self) -> None:
        while True:
            await prune()
            await asyncio.sleep(PRUNE_INTERVAL_SECONDS)


async def prune() -> None:
    """Delete everything that is past its retention period, batch by batch. An error of one kind does not keep the others."""
    for kind in KINDS:
        deleted = 0
        try:
            async for number in delete_expired(kind):
                deleted += number
        except Exception:
            logger.exception("The %s that are past their retention period could not be deleted", kind.label)
        if deleted:
            logger.info("Deleted %d %s that were past their retention period", deleted, kind.label)


async def delete_expired(kind: ExpiredData) -> AsyncIterator[int]:
    """Delete the expired rows of one kind. Yield after each batch how many rows it deleted."""
    after: Any = None
    while True:
        batch = await run_in_transaction(kind.delete_batch, now=timezone.now(), after=after)
        yield batch.deleted
        if batch.after is None:
            return
        after = batch.after
