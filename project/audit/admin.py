"""Read-only admin pages of the audit trail and of Django's own history of changes."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest

from project.accounts.two_factor import NO_CODE, WRONG_CODE
from project.admin.read_only import AppendOnlyAdmin
from project.audit.models import AuditEvent
from project.audit.signals import LOCKED_OUT, WRONG_CREDENTIALS
from project.auth.principal import AuthFailureReason


class FixedChoicesFilter(admin.SimpleListFilter):
    """Base filter by the values of a field, which are named here, because Django's filter would read all rows to find them."""

    values: Sequence[str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values."""
        return [(str(value), str(value)) for value in self.values]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the chosen value."""
        return queryset if self.value() is None else queryset.filter(**{str(self.parameter_name): self.value()})


class ActorKindFilter(FixedChoicesFilter):
    """Filter by the kind of the actor."""

    title = "actor kind"
    parameter_name = "actor_kind"
    values = ("key", "token", "session", "command")


class ReasonFilter(FixedChoicesFilter):
    """Filter by the reason of a rejection, or by the reason `token` of a login that issued an access token."""

    title = "reason"
    parameter_name = "reason"
    values = (*AuthFailureReason, WRONG_CREDENTIALS, WRONG_CODE, NO_CODE, LOCKED_OUT, "token")


@admin.register(AuditEvent)
class AuditEventAdmin(AppendOnlyAdmin):
    """Admin of the audit trail."""

    page_title = "Audit trail"

    list_display = ("created_at", "action", "object", "actor", "actor_kind", "ip_address", "reason")
    list_filter = ("action", ActorKindFilter, ReasonFilter)
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
