"""Keyset pagination for admin lists: loading a page takes the same time at any position, and with any combination of filters."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from project.bridge.database.conditions import (
    EVERYTHING,
    MAX_CHECKED_ROWS,
    Condition,
    Found,
    Range,
    count_first,
    find_page_of_any,
)

NEWEST_FIRST = ("-pk",)
AFTER_PARAMETER = "after"  # query parameter: the primary key of the last row that the previous page listed or checked


@dataclass(frozen=True)
class Count:
    """A number of matching rows. Unless it is exact, more rows may match: "37+", or an empty text if none is known yet."""

    number: int
    is_exact: bool = True

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.number:,}"
        return f"{self.number:,}+" if self.number else ""


@dataclass(frozen=True)
class Criteria:
    """The rows of a list: those that fulfill all conditions of at least one of the alternatives, within limits of their ids."""

    alternatives: Sequence[Sequence[Condition]]
    limits: Range = EVERYTHING

    def find(self, limit: int, *, after: Any = None) -> Found:
        """Return the ids of the first rows after an id."""
        limits = self.limits
        if after is not None:
            first = max if limits.ascending else min
            limits = replace(limits, after=after if limits.after is None else first(after, limits.after))
        return find_page_of_any(self.alternatives, limit, limits)

    def count(self, limit: int) -> Count:
        """Count the rows. Reads up to `limit` rows, or checks up to `MAX_CHECKED_ROWS` rows if there are several conditions."""
        counts = [
            Count(*count_first(conditions, limit if len(conditions) == 1 else MAX_CHECKED_ROWS, self.limits))
            for conditions in self.alternatives
        ]
        matching = [each for each in counts if each.number or not each.is_exact] or counts[:1]
        # A row may match several alternatives.
        return matching[0] if len(matching) == 1 else Count(max(each.number for each in matching), is_exact=False)


class KeysetChangeList(ChangeList):
    """Change list with keyset pagination by primary key. It uses no OFFSET, and a page checks a limited number of rows."""

    after: Any = None
    first_page: str | None = None  # query string of the first page; None on the first page
    next_page: str | None = None  # query string of the next page; None on the last page
    criteria: Criteria
    found: Found
    all_matching: QuerySet[Any]  # the rows of all pages, as Django would read them

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order of the admin class and ignore the query string, because no other order has an index."""
        return list(self.model_admin.ordering or ())

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the filtered rows that follow the previous page. Raises `IncorrectLookupParameters`.

        Django uses these rows for actions. The list itself is read by `criteria`.
        """
        self.filter_params.pop(AFTER_PARAMETER, None)  # so that the links of filters lead to the first page
        after = self.params.pop(AFTER_PARAMETER, None)
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.all_matching = rows
        try:
            self.after = self.model._meta.pk.to_python(after) if after is not None else self.after
        except ValidationError as error:
            raise IncorrectLookupParameters(str(error)) from error
        if self.after is None:
            return rows
        return rows.filter(**{"pk__lt" if self.model_admin.ordering == NEWEST_FIRST else "pk__gt": self.after})

    def get_results(self, request: HttpRequest) -> None:
        """Find the ids of one page, and of one more row to know whether there is a next page. Then load the rows."""
        self.criteria = self.model_admin.get_criteria(self)  # type: ignore[attr-defined]  # of `KeysetAdmin`
        self.found = self.criteria.find(self.list_per_page + 1, after=self.after)
        ids = self.found.ids[: self.list_per_page]
        rows = self.apply_select_related(self.root_queryset.filter(pk__in=ids))
        self.result_list: Any = list(rows.order_by(*self.get_ordering(request, rows)))
        self.result_count = len(self.result_list)
        self.full_result_count = self.result_count  # never shown, because the rows are not counted
        self.show_full_result_count = False
        self.show_admin_actions = bool(ids)
        self.can_show_all = self.multi_page = False
        last = ids[-1] if len(self.found.ids) > self.list_per_page else self.found.last_checked
        if last is not None:
            self.next_page = self.get_query_string({AFTER_PARAMETER: str(last)})
        if self.after is not None:
            self.first_page = self.get_query_string()


class KeysetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Admin of a table with many rows: keyset pagination, newest first, no counts."""

    change_list_template = "admin/keyset_changelist.html"
    list_per_page = 100
    ordering = NEWEST_FIRST
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count rows
    sortable_by = ()

    class Media:
        css = {"all": ("mailrail/admin.css",)}
        js = ("mailrail/search_shortcut.js",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list with keyset pagination."""
        return KeysetChangeList

    def get_criteria(self, changelist: KeysetChangeList) -> Criteria:
        """Return the conditions of the list. By default, each row is checked against the filters and the search."""
        return Criteria([[Condition(self.model._default_manager.all()), *unindexed_conditions(changelist, ())]])


def unindexed_conditions(changelist: KeysetChangeList, indexed: Collection[str]) -> list[Condition]:
    """Return one condition for all filters and the search, unless the query string has only the `indexed` parameters."""
    parameters = {*changelist.get_filters_params(), *([SEARCH_VAR] if changelist.query else [])}
    return [Condition(changelist.all_matching.order_by(), has_index=False)] if parameters - set(indexed) else []
