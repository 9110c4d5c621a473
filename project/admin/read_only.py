"""Base classes for admin pages of rows that are not edited by hand."""

from django.http import HttpRequest

from project.admin.changelist import KeysetAdmin


class ReadOnlyAdmin(KeysetAdmin):
    """Admin that shows rows and forbids adding and changing them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: rows are not added by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: rows are not changed by hand."""
        return False


class AppendOnlyAdmin(KeysetAdmin):
    """Admin of a log: not even a superuser can add, change or delete its rows."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: only the application adds entries."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: entries are never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: entries are never deleted by hand. So a user with entries in Django's history can only be deactivated."""
        return False
