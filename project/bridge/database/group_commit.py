"""Group commit: writes that arrive while the database is busy share the next transaction, until it has the write lock.

A commit takes about the same time for one row as for fifty rows, so many small writes become several times faster. A single write
does not wait for other writes: it is committed at once.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import OperationalError

from .transactions import DATABASE_UNAVAILABLE_ERRORS, run_in_transaction

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_FAILED_ROWS = 2  # rows whose items fail alone too before the database counts as unavailable


@dataclass(frozen=True)
class GroupCommitLimits(Generic[Item]):
    """Limits of a group commit.

    `size_of` returns the bytes of an item. `row_of` returns the key of a row that the item locks and shares with other items, or
    None: if the row is locked by another transaction, only the items of this row fail.
    """

    size_of: Callable[[Item], int]
    row_of: Callable[[Item], Hashable] = lambda _item: None
    commit_bytes: int = 8 * 1024 * 1024  # in one transaction; an item that is larger gets a transaction of its own
    waiting_bytes: int = 128 * 1024 * 1024  # of items that wait for their transaction
    wait_seconds: float = 10.0  # until an item is committed


@dataclass(eq=False)
class _PendingItem(Generic[Item, Result]):
    item: Item
    size: int
    result: "asyncio.Future[Result]"


class GroupCommit(Generic[Item, Result]):
    """Runs `function` with the waiting items, up to `max_items` in one transaction.

    `function` returns one result per item, in order. If a result is an exception, it is raised to the item's caller. If
    `function` raises, each item is retried in a transaction of its own, so one bad item fails alone.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        max_items: int = 64,
        limits: GroupCommitLimits[Item] | None = None,
    ) -> None:
        self._function = function
        self._max_items = max_items
        self._limits = limits
        self._waiting: list[_PendingItem[Item, Result]] = []
        self._waiting_bytes = 0
        self._lock = threading.Lock()  # guards both, because the thread of a transaction takes the items
        self._committing: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """Add `item` to the next transaction, and return its result once the transaction is committed.

        Raises `OperationalError` if too many bytes wait already, or if the item is not committed in time. In the latter case the
        item may still be committed if its transaction has already started.
        """
        size = self._limits.size_of(item) if self._limits else 0
        if self._limits and self._waiting and self._waiting_bytes + size > self._limits.waiting_bytes:
            raise OperationalError("The database is busy: too much data is waiting to be written.")
        pending: _PendingItem[Item, Result] = _PendingItem(item, size, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(pending)
            self._waiting_bytes += size
        if self._committing is None or self._committing.done():
            # An empty context: the transaction belongs to several callers, not to the first one.
            self._committing = asyncio.create_task(self._commit_all(), context=contextvars.Context())
        return await pending.result if self._limits is None else await _with_timeout(pending.result, self._limits.wait_seconds)

    async def _commit_all(self) -> None:
        while self._waiting:
            if all(pending.result.done() for pending in self._waiting):
                self._take_batch()
                continue
            batch = list[_PendingItem[Item, Result]]()
            if not await self._commit(batch):
                await self._commit_one_by_one(batch)

    def _run_next(self, batch: list[_PendingItem[Item, Result]]) -> Sequence[Result | Exception]:
        """Fill `batch` with the items of this transaction, and run the function.

        The transaction has the write lock by now, so the items that arrived while it waited for the lock share it too.
        """
        if not batch:
            batch += self._take_batch()
        return self._function([pending.item for pending in batch]) if batch else []

    def _take_batch(self) -> list[_PendingItem[Item, Result]]:
        """Remove the items of the next transaction from the waiting items. Items whose callers are gone are dropped."""
        with self._lock:
            return self._take_locked()

    def _take_locked(self) -> list[_PendingItem[Item, Result]]:
        count, size = 0, 0
        for pending in self._waiting[: self._max_items]:
            size += pending.size
            if count and self._limits and size > self._limits.commit_bytes:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= sum(pending.size for pending in batch)
        return [pending for pending in batch if not pending.result.done()]

    async def _commit_one_by_one(self, batch: Sequence[_PendingItem[Item, Result]]) -> None:
        """Commit each item of a failed batch alone. If two rows fail too, the rest fails at once: the database is unavailable."""
        failed_rows: set[Hashable] = set()
        for pending in batch:
            row = self._limits.row_of(pending.item) if self._limits else None
            row = id(pending) if row is None else row
            if row in failed_rows or len(failed_rows) >= MAX_FAILED_ROWS:
                _resolve(pending.result, OperationalError("The database is unavailable, so the write was not tried again."))
            elif not pending.result.done():
                await self._commit([pending])
                error = None if pending.result.cancelled() else pending.result.exception()
                failed_rows |= {row} if isinstance(error, DATABASE_UNAVAILABLE_ERRORS) else set()

    async def _commit(self, batch: list[_PendingItem[Item, Result]]) -> bool:
        """Commit a batch, or if it is empty the waiting items, which are added to it.

        Return False if a batch of several items failed, and must be retried item by item.
        """
        try:
            results = await run_in_transaction(self._run_next, batch)
        except Exception as error:  # noqa: BLE001  # raised to the item's caller
            if not batch:  # the transaction failed before it took its items, for example because it waited too long for the lock
                batch += self._take_batch()
            if len(batch) > 1:
                return False
            results = [error] * len(batch)
        for pending, result in zip(batch, results, strict=True):
            _resolve(pending.result, result)
        return True


async def _with_timeout(result: "asyncio.Future[Result]", seconds: float) -> Result:
    timer = asyncio.get_running_loop().call_later(seconds, _resolve, result, OperationalError("The database is busy."))
    try:
        return await result
    finally:
        timer.cancel()


def _resolve(future: "asyncio.Future[Result]", result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
