"""Cursor pagination: one page of a list, and the cursor of the next page."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=100)]


class CursorPage(BaseModel, Generic[Item]):
    """One page of a list. Pass `next` as `after` to get the next page."""

    data: list[Item]
    next: str | None

    @classmethod
    def of(cls, rows: Sequence[Row], limit: int, *, cursor: Callable[[Row], object]) -> Self:
        """Return the first `limit` rows. `rows` has one more row if there is a next page; `cursor` returns a row's cursor."""
        next_cursor = str(cursor(rows[limit - 1])) if len(rows) > limit else None
        return cls.model_validate({"data": rows[:limit], "next": next_cursor}, from_attributes=True)
