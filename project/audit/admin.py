"""Read-only admin pages of the audit trail and of Django's own history of changes."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from project.admin.read_only import AppendOnlyAdmin
from project.audit.models import AuditEvent


@admin.register(AuditEvent)
class AuditEventAdmin(AppendOnlyAdmin):
    """Admin of the audit trail."""

    page_title = "Audit trail"

    list_display = ("created_at", "action", "object", "actor", "actor_kind", "ip_address", "reason")
    list_filter = ("action", "actor_kind", "reason")
    search_fields = ("actor", "object", "ip_address")


@admin.register(LogEntry)
class LogEntryAdmin(AppendOnlyAdmin):
    """Admin of Django's history: the changes made in the admin, and the user who made each change."""

    page_title = "Changes in the admin"

    list_display = ("action_time", "user", "content_type", "object_repr", "change")
    list_filter = ("action_flag",)
    list_select_related = ("user", "content_type")
    search_fields = ("user__username", "object_repr")
    fields = ("action_time", "user", "content_type", "object_id", "object_repr", "change")

    @admin.display(description="change")
    def change(self, entry: LogEntry) -> Any:
        """Return a description of the change."""
        return entry.get_change_message() or entry.get_action_flag_display()
