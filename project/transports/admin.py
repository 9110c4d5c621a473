"""The embedded mailbox in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from project.emails.admin.message_view import StoredMessageAdmin
from project.transports.models import MailboxMessage


@admin.register(MailboxMessage)
class MailboxMessageAdmin(StoredMessageAdmin):
    """Mail that arrived in the embedded mailbox."""

    list_display = ("subject_line", "sender", "to", "received_at")
    list_display_links = ("subject_line",)
    change_form_template = "admin/transports/mailboxmessage/mailbox_message.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MailboxMessage]:
        """Without what only a page shows."""
        return super().get_queryset(request).defer("text", "source")

    def source_of(self, letter: MailboxMessage) -> bytes:
        """As it came."""
        return bytes(letter.source)

    @admin.display(description="subject")
    def subject_line(self, letter: MailboxMessage) -> str:
        """Something to click on, in any case."""
        return str(letter)

    @admin.display(description="to")
    def to(self, letter: MailboxMessage) -> str:
        """The recipients."""
        return ", ".join(letter.recipients)
