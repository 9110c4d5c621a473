"""Admin pages for rows that are not edited by hand."""

from django.contrib import admin
from django.http import HttpRequest

from project.admin.changelist import KeysetAdmin


class ReadOnlyAdmin(KeysetAdmin):
    """Rows to look at, and to change by no hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


class AppendOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows that nobody adds, changes or deletes, a superuser neither."""

    list_per_page = 100
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never. So whoever is in Django's log cannot be deleted either, only made inactive."""
        return False
