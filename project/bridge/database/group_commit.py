"""Shared commits: what comes while the database is busy waits together, and goes into one transaction (group commit).

A commit costs about the same for one row as for fifty, so many small writes are several times as quick this way. Nobody
waits for company: who comes alone is committed alone, at once.
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
    answer: "asyncio.Future[Result]"


class GroupCommit(Generic[Item, Result]):
    """Runs `function` over what waits, up to `most` items in one transaction.

    It gives an answer for each item, in their order; an exception among them is raised to whoever asked. If the whole fails,
    each item is tried in a transaction of its own: one bad item fails alone.
    """

    def __init__(self, function: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, most: int = 64) -> None:
        self._function = function
        self._most = most
        self._waiting: list[_PendingItem[Item, Result]] = []
        self._committing: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """Give `item` to the next transaction. It is committed when this returns."""
        asked: _PendingItem[Item, Result] = _PendingItem(item, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        return await asked.answer

    async def _commit_all(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            together = [asked for asked in taken if not asked.answer.done()]  # who was cancelled wants nothing
            if together and not await self._commit(together):
                for asked in together:
                    await self._commit([asked])

    async def _commit(self, together: Sequence[_PendingItem[Item, Result]]) -> bool:
        """False if it failed, and was more than one."""
        try:
            answers = await run_in_transaction(self._function, [asked.item for asked in together])
        except Exception as error:  # noqa: BLE001  # it belongs to whoever asked
            if len(together) > 1:
                return False
            answers = [error] * len(together)
        for asked, answer in zip(together, answers, strict=True):
            _resolve(asked.answer, answer)
        return True


def _resolve(future: "asyncio.Future[Result]", answer: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
