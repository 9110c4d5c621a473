"""Group commit: writes that arrive while the database is busy share the next transaction.

A commit takes about the same time for one row as for fifty rows, so many small writes become several times faster. A single write
does not wait for other writes: it is committed at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .transactions import run_in_transaction

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _PendingItem(Generic[Item, Result]):
    item: Item
    result: "asyncio.Future[Result]"


class GroupCommit(Generic[Item, Result]):
    """Runs `function` with the waiting items, up to `max_items` in one transaction.

    `function` returns one result per item, in order. If a result is an exception, it is raised to the item's caller. If
    `function` raises, each item is retried in a transaction of its own, so one bad item fails alone.
    """

    def __init__(self, function: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, max_items: int = 64) -> None:
        self._function = function
        self._max_items = max_items
        self._waiting: list[_PendingItem[Item, Result]] = []
        self._committing: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """Add `item` to the next transaction, and return its result once the transaction is committed."""
        pending: _PendingItem[Item, Result] = _PendingItem(item, asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        return await pending.result

    async def _commit_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
            batch = [pending for pending in batch if not pending.result.done()]  # a done future was canceled by its caller
            if batch and not await self._commit(batch):
                for pending in batch:
                    await self._commit([pending])

    async def _commit(self, batch: Sequence[_PendingItem[Item, Result]]) -> bool:
        """Commit a batch. Return False if a batch of several items failed, and must be retried item by item."""
        try:
            results = await run_in_transaction(self._function, [pending.item for pending in batch])
        except Exception as error:  # noqa: BLE001  # raised to the item's caller
            if len(batch) > 1:
                return False
            results = [error] * len(batch)
        for pending, result in zip(batch, results, strict=True):
            _resolve(pending.result, result)
        return True


def _resolve(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
