"""Emails in the admin: the list with its filters and search, and the page of one email. New emails come only from the API."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html

from project.admin.changelist import Criteria, KeysetChangeList
from project.emails.admin.actions import possible_actions
from project.emails.admin.email_actions import EmailActionsAdmin
from project.emails.admin.email_changelist import EmailChangeList, email_criteria, owner_names, search
from project.emails.admin.filters import DayFilter, OwnerFilter, PriorityFilter, ReasonFilter, StatusFilter, TagFilter
from project.emails.models import Email
from project.emails.priority import Priority
from project.events.selectors import last_event_id

MAX_SHOWN_COPIES = 20  # on the page of an email that was sent again


@admin.register(Email)
class EmailAdmin(EmailActionsAdmin):
    """Submitted emails."""

    list_display = ("subject_line", "status_badge", "priority_line", "to_line", "reason_line", "created")
    list_display_links = ("subject_line",)
    list_filter = (StatusFilter, PriorityFilter, ReasonFilter, OwnerFilter, DayFilter, TagFilter)
    search_fields = ("id",)
    search_help_text = "Words of the subject, the beginning of a recipient's address, an email ID or a Message-ID."
    change_form_template = "admin/emails/email/email_detail.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Email]:
        """Leave out the long columns, because the page of one email shows the raw message instead."""
        return super().get_queryset(request).defer("text", "html")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that adds the owners' names."""
        return EmailChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by id, Message-ID, words of the subject or the beginning of a recipient's address."""
        return search(queryset, search_term), False

    def get_criteria(self, changelist: KeysetChangeList) -> Criteria:
        """Read the list along the index of one of the filters, or of the search."""
        return email_criteria(changelist)

    def raw_message(self, row: Email) -> bytes:
        """Return the message as it is sent to the relay."""
        return bytes(row.raw_message.content) if hasattr(row, "raw_message") else b""

    # Columns

    @admin.display(description="subject")
    def subject_line(self, email: Email) -> str:
        """Return the subject, or a placeholder if it is empty, because the text is the link to the email."""
        return email.subject or "No subject"

    @admin.display(description="to")
    def to_line(self, email: Email) -> str:
        """Return the first recipient and the number of the other recipients."""
        first, *others = email.recipients
        return f"{first} and {len(others)} more" if others else str(first)

    @admin.display(description="status")
    def status_badge(self, email: Email) -> str:
        """Return the status as a colored badge, with the statuses of recipients that differ: "sent · 1 bounced"."""
        return render_to_string("admin/emails/email/status_badge.html", {"email": email})

    @admin.display(description="priority", empty_value="")
    def priority_line(self, email: Email) -> str | None:
        """Return the priority, but not `normal`, so that other priorities stand out."""
        return None if email.priority == Priority.NORMAL else email.priority

    @admin.display(description="reason", empty_value="")
    def reason_line(self, email: Email) -> str | None:
        """Return the reason of the last failure."""
        return email.reason

    @admin.display(description="created")
    def created(self, email: Email) -> str:
        """Return the local date and time, and the name of the API key or user, in elements between which a line can break."""
        day, time = f"{timezone.localtime(email.created_at):%Y-%m-%d %H:%M:%S}".split()
        owner = getattr(email, "owner_name", email.owner)
        by = format_html(' <span class="quiet">by {}</span>', owner) if owner else ""
        return format_html("<time>{}</time> <time>{}</time>{}", day, time, by)

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: users can cancel emails, but not delete them."""
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Render the email's page with its events, its recipients and the actions that are possible now."""
        email: Email = kwargs["obj"]
        context |= {
            "owner_name": owner_names({email.owner}).get(email.owner, email.owner),
            "cursor": last_event_id(),  # read before the events, so that events between the two queries are not missed
            "events": list(email.events.all()),
            "recipient_rows": recipient_rows(email),
            "possible_actions": possible_actions(email, self.permitted_actions(request)),
            "copies": list(email.resent_as.values_list("pk", flat=True)[:MAX_SHOWN_COPIES]),
        }
        return super().render_change_form(request, context, *args, **kwargs)


def recipient_rows(email: Email) -> list[dict[str, Any]]:
    """Return each recipient's address, status and reply if the results differ between recipients, else an empty list."""
    if not email.recipient_results:
        return []
    return [
        {"address": address, "status": email.status} | email.recipient_results.get(address, {}) for address in email.recipients
    ]
