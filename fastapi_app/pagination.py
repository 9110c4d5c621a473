"""Pages of a list: some of many, and what the next comes after."""

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=100)]


class CursorPage(BaseModel, Generic[Item]):
    """Some of many. `next` is what the next page comes `after`."""

    data: list[Item]
    next: str | None

    @classmethod
    def of(cls, rows: Sequence[Row], limit: int, *, cursor: Callable[[Row], object]) -> Self:
        """The first `limit` rows, of one more if there are more. `cursor` is what a row is known by."""
        following = str(cursor(rows[limit - 1])) if len(rows) > limit else None
        return cls.model_validate({"data": rows[:limit], "next": following}, from_attributes=True)
