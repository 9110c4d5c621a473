"""Keyset pagination for admin lists: loading a page takes the same time at any position in the list."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

NEWEST_FIRST = ("-pk",)
AFTER_PARAMETER = "after"  # query parameter: the primary key of the previous page's last row


class KeysetChangeList(ChangeList):
    """Change list with keyset pagination by primary key. It runs no COUNT query and uses no OFFSET."""

    after: str | None = None
    first_page: str | None = None  # query string of the first page; None on the first page
    next_page: str | None = None  # query string of the next page; None on the last page
    all_matching: QuerySet[Any]  # the rows of all pages

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order of the admin class and ignore the query string, because no other order has an index."""
        return list(self.model_admin.ordering or ())

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the filtered rows that follow the previous page's last row. Raises `IncorrectLookupParameters`."""
        self.filter_params.pop(AFTER_PARAMETER, None)  # so that the links of filters lead to the first page
        self.after = self.params.pop(AFTER_PARAMETER, self.after)
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.all_matching = rows
        if self.after is None:
            return rows
        lookup = "pk__lt" if self.model_admin.ordering == NEWEST_FIRST else "pk__gt"
        try:
            return rows.filter(**{lookup: self.model._meta.pk.to_python(self.after)})
        except ValidationError as error:
            raise IncorrectLookupParameters(str(error)) from error

    def get_results(self, request: HttpRequest) -> None:
        """Load one page, and one more row to know whether there is a next page."""
        rows: Sequence[Model] = list(self.queryset[: self.list_per_page + 1])
        self.result_list: Any = rows[: self.list_per_page]
        self.result_count = len(self.result_list)
        self.full_result_count = self.result_count  # never shown, because the rows are not counted
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = self.multi_page = False
        if len(rows) > self.list_per_page:
            self.next_page = self.get_query_string({AFTER_PARAMETER: str(self.result_list[-1].pk)})
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
