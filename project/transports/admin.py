"""The embedded mailbox in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from project.emails.admin.message_view import StoredMessageAdmin
from project.transports.models import MailboxMessage


@admin.register(MailboxMessage)
class MailboxMessageAdmin(StoredMessageAdmin):
    """Lists the messages in the embedded mailbox, and shows each message as an email client does."""

    page_title = "Mailbox"

    list_display = ("subject_line", "sender", "to", "received_at")
    list_display_links = ("subject_line",)
    change_form_template = "admin/transports/mailboxmessage/mailbox_message.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MailboxMessage]:
        """Return the messages without their bodies, which only the page of one message loads."""
        return super().get_queryset(request).defer("text", "source")

    def raw_message(self, row: MailboxMessage) -> bytes:
        """Return the message as it would have been sent over SMTP."""
        return bytes(row.source)

    @admin.display(description="subject")
    def subject_line(self, row: MailboxMessage) -> str:
        """Return the subject, or a placeholder, so that there is always a link text."""
        return str(row)

    @admin.display(description="to")
    def to(self, row: MailboxMessage) -> str:
        """Return the recipients, separated by commas."""
        return ", ".join(row.recipients)
