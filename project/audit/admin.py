"""The audit trail and Django's own log of changes, to be read and never written."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from project.admin.read_only import AppendOnlyAdmin
from project.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(AppendOnlyAdmin):
    """Who came in, who was refused, and what became of keys, passwords and two-factor login."""

    list_display = ("created_at", "action", "reason", "actor", "ip_address")
    list_filter = ("action", "reason")
    search_fields = ("actor", "ip_address")


@admin.register(LogEntry)
class LogEntryAdmin(AppendOnlyAdmin):
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
