"""Counts the rows of several queries with one statement, each along an index in the order of the ids."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import CharField, Func, IntegerField, QuerySet, Subquery

from project.emails.models import Email
from project.emails.status import Status


class RowCount(Subquery):
    """The number of rows of a query, which may have a limit, as a column of another query.

    The rows are ordered, because SQLite has no statistics: it would count all emails of an index that begins with the owner,
    instead of the few emails in the index of one status.
    """

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()

    def __init__(self, rows: QuerySet[Any], limit: int | None = None) -> None:
        super().__init__(rows.order_by("-pk").values("pk")[:limit])


def read_columns(columns: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the values of subqueries that depend on no row, in one statement. Return None if there are no emails."""
    any_email = Email.objects.order_by().values_list(*columns)[:1]
    return next(iter(any_email), None) if columns else None


def count_by_status(statuses: Iterable[Status]) -> dict[str, int]:
    """Return the number of emails in each of the statuses, which have an index of their own."""
    names = [status.value for status in statuses]
    numbers = read_columns([RowCount(Email.objects.filter(status=_literal(name))) for name in names])
    return dict(zip(names, numbers or [0] * len(names), strict=True))


def _literal(status: str) -> Func:
    """Return a status as part of the statement. With a parameter, SQLite would check the status in the row of each email."""
    return Func(template=f"'{Status(status)}'", output_field=CharField())
