"""The embedded mailbox in the admin."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest

from project.admin.changelist import Criteria, KeysetChangeList, unindexed_conditions
from project.bridge.database.conditions import ensure_index
from project.emails.admin.message_view import StoredMessageAdmin
from project.emails.search import Search, begins_with
from project.transports.models import MailboxMessage, MailboxTerm

MAILBOX_SEARCH = Search(
    MailboxMessage.objects.all(),
    "message_id",
    word=lambda text: MailboxTerm.objects.filter(term=text),
    address=lambda text: MailboxTerm.objects.filter(begins_with("term", f"@{text}")),
)


@admin.register(MailboxMessage)
class MailboxMessageAdmin(StoredMessageAdmin):
    """Lists the messages in the embedded mailbox, and shows each message as an email client does."""

    page_title = "Mailbox"

    list_display = ("subject_line", "sender", "to", "received_at")
    list_display_links = ("subject_line",)
    search_fields = ("subject",)
    search_help_text = "Words of the subject, or the beginning of a recipient's address."
    change_form_template = "admin/transports/mailboxmessage/mailbox_message.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MailboxMessage]:
        """Return the messages without their bodies, which only the page of one message loads."""
        return super().get_queryset(request).defer("text", "source")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by words of the subject or the beginning of a recipient's address."""
        return (MAILBOX_SEARCH.match(queryset, search_term) if search_term.strip() else queryset), False

    def get_criteria(self, changelist: KeysetChangeList) -> Criteria:
        """Read the list along the index of the search."""
        others = unindexed_conditions(changelist, [SEARCH_VAR])
        alternatives = MAILBOX_SEARCH.conditions(changelist.query) if changelist.query.strip() else [[]]
        return Criteria([ensure_index([*each, *others], MailboxMessage.objects.all()) for each in alternatives])

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
