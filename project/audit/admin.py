"""The audit trail and Django's own log of changes, to be read and never written."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest

from project.audit.models import AuditEvent


class Kept(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
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


@admin.register(AuditEvent)
class AuditEventAdmin(Kept):
    """Who came in, who was refused, and what became of keys, passwords and two-factor login."""

    list_display = ("at", "fact", "reason", "name", "address")
    list_filter = ("fact", "reason")
    search_fields = ("name", "address")


@admin.register(LogEntry)
class LogEntryAdmin(Kept):
    """What was done in the admin, and by whom."""

    list_display = ("action_time", "user", "content_type", "object_repr", "what")
    list_filter = ("action_flag",)
    list_select_related = ("user", "content_type")
    search_fields = ("user__username", "object_repr")
    fields = ("action_time", "user", "content_type", "object_id", "object_repr", "what")

    @admin.display(description="change")
    def what(self, entry: LogEntry) -> Any:
        """In words."""
        return entry.get_change_message() or entry.get_action_flag_display()
