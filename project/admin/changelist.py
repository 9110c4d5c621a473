"""Lists that stay fast, however many rows there are."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

NEWEST_FIRST = ("-pk",)
AFTER_PARAMETER = "after"  # in the query string: the key of the last row seen


class KeysetChangeList(ChangeList):
    """A list by its primary key, page by page. It counts nothing, and a page far down costs what the first one does."""

    after: str | None = None
    first_page: str | None = None  # a query string, unless this is it
    next_page: str | None = None  # a query string, if there is one

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """As its admin says, whatever the query string asks for: no other order has an index."""
        return list(self.model_admin.ordering or ())

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """What the filters and the search leave, from where this page begins."""
        self.filter_params.pop(AFTER_PARAMETER, None)  # a link to another filter begins at the top
        self.after = self.params.pop(AFTER_PARAMETER, self.after)
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if self.after is None:
            return rows
        further = "pk__lt" if self.model_admin.ordering == NEWEST_FIRST else "pk__gt"
        try:
            return rows.filter(**{further: self.model._meta.pk.to_python(self.after)})
        except ValidationError as error:
            raise IncorrectLookupParameters(str(error)) from error

    def get_results(self, request: HttpRequest) -> None:
        """One page, and whether there is another."""
        rows: Sequence[Model] = list(self.queryset[: self.list_per_page + 1])
        self.result_list: Any = rows[: self.list_per_page]
        self.result_count = len(self.result_list)
        self.full_result_count = self.result_count  # of what is not counted, nothing is said
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = self.multi_page = False
        if len(rows) > self.list_per_page:
            self.next_page = self.get_query_string({AFTER_PARAMETER: str(self.result_list[-1].pk)})
        if self.after is not None:
            self.first_page = self.get_query_string()


class KeysetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows of which there may be many."""

    change_list_template = "admin/keyset_changelist.html"
    list_per_page = 100
    ordering = NEWEST_FIRST
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count
    sortable_by = ()

    class Media:
        css = {"all": ("mailrail/admin.css",)}
        js = ("mailrail/search_shortcut.js",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that counts nothing."""
        return KeysetChangeList
