"""Pages of rows that fulfill several conditions. Each page reads a limited number of rows, whatever the conditions match.

The rows of one condition are read along its index, and the other conditions are checked for each of these rows. With a join
instead, SQLite, which has no statistics, and PostgreSQL, which has estimates, may start with a condition that a million rows
fulfill.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

MAX_COUNTED_ROWS = 1000  # of each condition, to find the condition with the fewest rows
# Rows of one condition that are checked against the other conditions for one page. If many rows match each condition, but few
# match all of them, a page may have fewer rows than requested.
MAX_CHECKED_ROWS = 5000
FIRST_CHECKED_ROWS = 200  # if these rows contain enough matches, as they usually do, no more rows are read


@dataclass(frozen=True)
class Range:
    """Limits of the ids to read, in the order of reading: from the id that follows `after`, to `up_to`."""

    after: Any = None
    up_to: Any = None
    ascending: bool = False

    def restrict(self, rows: "QuerySet[Any]", id_field: str) -> "QuerySet[Any]":
        """Return the rows within the limits, in the order of reading."""
        following, last = ("gt", "lte") if self.ascending else ("lt", "gte")
        if self.after is not None:
            rows = rows.filter(**{f"{id_field}__{following}": self.after})
        if self.up_to is not None:
            rows = rows.filter(**{f"{id_field}__{last}": self.up_to})
        return rows.order_by(id_field if self.ascending else f"-{id_field}")


EVERYTHING = Range()


@dataclass(frozen=True)
class Condition:
    """A condition on the listed rows: rows of one table. Most have an index that finds these rows in the order of the ids."""

    rows: "QuerySet[Any]"
    id_field: str = "pk"  # the id of the listed row
    has_index: bool = True

    def within(self, limits: Range) -> "QuerySet[Any]":
        """Return the rows of this condition within the limits, in the order of reading."""
        return limits.restrict(self.rows, self.id_field)

    def ids(self, rows: "QuerySet[Any]") -> "QuerySet[Any, Any]":
        """Return the ids of the listed rows that some rows of this condition belong to."""
        return rows.values_list(self.id_field, flat=True)

    def restrict(self, rows: "QuerySet[Any]", id_field: str) -> "QuerySet[Any]":
        """Return those of another condition's rows that fulfill this condition too.

        Each row is checked alone. With EXISTS, PostgreSQL may read all rows of this condition first.
        """
        found = Subquery(self.rows.filter(**{self.id_field: OuterRef(id_field)}).values(self.id_field)[:1])
        restricted: QuerySet[Any] = rows.alias(found=found).filter(found__isnull=False)
        return restricted


@dataclass(frozen=True)
class Found:
    """Ids of one page, in the order of reading.

    `last_checked` is None if all rows were checked, or if the page is full. Otherwise the next page goes on after this id, and
    `checked` is the number of rows that were checked for this page.
    """

    ids: list[Any] = field(default_factory=list)
    last_checked: Any = None
    checked: int = 0


def ensure_index(conditions: Sequence[Condition], all_rows: "QuerySet[Any]") -> list[Condition]:
    """Return the conditions, and that the listed row exists if none of the others has an index."""
    return [*conditions] if any(each.has_index for each in conditions) else [*conditions, Condition(all_rows)]


def find_page(conditions: Sequence[Condition], limit: int, limits: Range = EVERYTHING) -> Found:
    """Return the ids of the first rows that fulfill all conditions. At least one condition must have an index."""
    first = _with_fewest_rows(conditions, limits)
    rows = first.within(limits)
    if len(conditions) == 1:
        return Found(list(first.ids(rows)[:limit]))
    for count in (FIRST_CHECKED_ROWS, MAX_CHECKED_ROWS):
        last_checked = first.ids(rows)[count - 1 : count].first()
        ids = list(first.ids(_check(conditions, first, limits, last_checked))[:limit])
        if len(ids) == limit or last_checked is None:
            return Found(ids)
    return Found(ids, last_checked, count)


def find_page_of_any(alternatives: Sequence[Sequence[Condition]], limit: int, limits: Range = EVERYTHING) -> Found:
    """Return the ids of the first rows that fulfill all conditions of at least one of the alternatives."""
    found = [find_page(conditions, limit, limits) for conditions in alternatives]
    ends = [each.last_checked for each in found if each.last_checked is not None]
    ids = sorted({each for page in found for each in page.ids}, reverse=not limits.ascending)
    if not ends:
        return Found(ids[:limit])
    end = min(ends) if limits.ascending else max(ends)  # an alternative has not been checked beyond it
    ids = [each for each in ids if (each <= end if limits.ascending else each >= end)][:limit]
    return Found(ids) if len(ids) == limit else Found(ids, end, sum(each.checked for each in found))


def count_first(conditions: Sequence[Condition], limit: int, limits: Range = EVERYTHING) -> tuple[int, bool]:
    """Count the rows that fulfill all conditions, among the first `limit` rows of one condition.

    Return the number, and whether these were all rows.
    """
    first = _with_fewest_rows(conditions, limits)
    last_checked = first.ids(first.within(limits))[limit - 1 : limit].first()
    return _check(conditions, first, limits, last_checked).order_by().values(first.id_field).count(), last_checked is None


def _with_fewest_rows(conditions: Sequence[Condition], limits: Range) -> Condition:
    indexed = [each for each in conditions if each.has_index]
    if len(indexed) == 1:
        return indexed[0]
    return min(indexed, key=lambda each: each.within(limits)[:MAX_COUNTED_ROWS].count())


def _check(conditions: Sequence[Condition], first: Condition, limits: Range, last_checked: Any) -> "QuerySet[Any]":
    """Return those rows of the first condition, up to `last_checked`, that fulfill the other conditions too."""
    limits = Range(limits.after, limits.up_to if last_checked is None else last_checked, ascending=limits.ascending)
    checked = first.within(limits)
    for condition in conditions:
        if condition is not first:
            checked = condition.restrict(checked, first.id_field)
    return checked
