"""The outbox in the admin: to be looked at; mail is made through the API."""

from django.contrib import admin
from django.http import HttpRequest

from project.outbox.models import Email, MailboxMessage


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows to look at, and to change by no hand."""

    show_full_result_count = False

    @admin.display(description="to")
    def to(self, row: Email | MailboxMessage) -> str:
        """The recipients, as people write them."""
        return ", ".join(row.recipients)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never."""
        return False


@admin.register(Email)
class EmailAdmin(ReadOnly):
    """Mail on its way."""

    list_display = ("subject", "to", "status", "created_at", "sent_at")
    list_filter = ("status",)
    search_fields = ("id",)


@admin.register(MailboxMessage)
class MailboxAdmin(ReadOnly):
    """Mail that arrived in the embedded mailbox."""

    list_display = ("subject", "sender", "to", "received_at")
    fields = ("subject", "sender", "to", "received_at", "message_id", "text")
