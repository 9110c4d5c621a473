"""Emails in the admin. The actions "retry" and "cancel" call the functions that the API calls."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from project.accounts.models import User
from project.admin.changelist import KeysetChangeList
from project.api_keys.models import ApiKey
from project.auth.session_principal import session_principal
from project.bridge.database.transactions import call_in_transaction
from project.emails.actions import cancel_email, retry_email
from project.emails.admin.bulk_retry_progress import progress_view, redirect_to_progress
from project.emails.admin.filters import DayFilter, OwnerFilter, StatusFilter, TagFilter
from project.emails.admin.message_view import StoredMessageAdmin
from project.emails.mime.email_addresses import normalize_address
from project.emails.models import Email
from project.emails.status import CANCELABLE, RETRYABLE, Status
from project.errors import DomainError
from project.events.selectors import last_event_id


@dataclass(frozen=True)
class Action:
    """An action on emails: the function that applies it, its success message, and the statuses that allow it."""

    apply: Callable[..., Email]
    success: str
    allowed: tuple[Status, ...]


MAX_NAMED_EMAILS = 5  # emails that a message lists by subject; for more emails, the message contains only their number
ACTIONS = {
    "retry": Action(retry_email, "Queued again.", RETRYABLE),
    "cancel": Action(cancel_email, "Canceled.", CANCELABLE),
}


class EmailChangeList(KeysetChangeList):
    """The list of emails, with the names of their owners."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Order by id.

        With a tag filter, order by the email id in the tag index, so that SQLite does not have to sort all matching emails.
        """
        return ["-tag__email_id"] if self.params.get(TagFilter.parameter_name) else super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        """Read the page's emails, and add `owner_name` to each."""
        super().get_results(request)
        names = owner_names({email.owner for email in self.result_list})
        for email in self.result_list:
            email.owner_name = names.get(email.owner, email.owner)


@admin.register(Email)
class EmailAdmin(StoredMessageAdmin):
    """Submitted emails."""

    list_display = ("subject_line", "status_badge", "to_line", "created_by", "created")
    list_display_links = ("subject_line",)
    list_filter = (StatusFilter, OwnerFilter, DayFilter, TagFilter)
    search_fields = ("id",)
    search_help_text = "Search by recipient address, email ID or Message-ID."
    actions = ("retry", "cancel")
    change_form_template = "admin/emails/email/email_detail.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Email]:
        """Leave out the long columns, because the page of one email shows the raw message instead."""
        return super().get_queryset(request).defer("text", "html")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that adds the owners' names."""
        return EmailChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by id, Message-ID or recipient, because only these searches use an index."""
        term = search_term.strip().strip("<>")
        if not term:
            return queryset, False
        if (email_id := parse_email_id(term)) is not None:
            return queryset.filter(pk=email_id), False
        try:
            found = queryset.filter(recipient__address=normalize_address(term))
        except ValueError:
            messages.warning(request, "Search by a complete recipient address, an email ID or a Message-ID.")
            return queryset.none(), False
        return found.order_by("-recipient__email_id"), False  # the order of the index, so that the database need not sort

    def raw_message(self, row: Email) -> bytes:
        """Return the message as it is sent to the relay."""
        return bytes(row.raw_message.content)

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
        """Return the status as a colored badge."""
        return format_html('<span class="status status-{0}">{0}</span>', email.status)

    @admin.display(description="created by", empty_value="")
    def created_by(self, email: Email) -> str:
        """Return the name of the API key or user that created the email."""
        return str(getattr(email, "owner_name", email.owner))

    @admin.display(description="created")
    def created(self, email: Email) -> str:
        """Return the local date and time in two elements, so that a narrow column can wrap between them."""
        day, time = f"{timezone.localtime(email.created_at):%Y-%m-%d %H:%M:%S}".split()
        return format_html("<time>{}</time> <time>{}</time>", day, time)

    # Actions

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: users can cancel emails, but not delete them."""
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may retry and cancel emails."""
        return request.user.has_perm("emails.change_email")

    @admin.action(description="Retry the selected emails", permissions=["manage"])
    def retry(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Retry failed emails. If several emails were retried, redirect to a page that shows their progress."""
        retried = self.apply_action(request, ACTIONS["retry"], emails)
        return redirect_to_progress(request, retried) if len(retried) > 1 else None

    @admin.action(description="Cancel the selected emails", permissions=["manage"])
    def cancel(self, request: HttpRequest, emails: QuerySet[Email]) -> None:
        """Cancel queued and scheduled emails."""
        self.apply_action(request, ACTIONS["cancel"], emails)

    def apply_action(self, request: HttpRequest, action: Action, emails: Iterable[Email]) -> list[Email]:
        """Apply the action to each email, log and report the results, and return the emails that changed."""
        subjects_by_result: dict[tuple[int, str], list[str]] = {}
        changed: list[Email] = []
        principal = session_principal(cast("User", request.user))
        for email in emails:
            try:
                call_in_transaction(action.apply, email.id, principal=principal, now=timezone.now())
            except DomainError as rejection:
                result = (messages.WARNING, rejection.detail)
            else:
                changed.append(email)
                self.log_change(request, email, action.success)
                result = (messages.SUCCESS, action.success)
            subjects_by_result.setdefault(result, []).append(self.subject_line(email))
        for (level, text), subjects in subjects_by_result.items():
            self.message_user(request, f"{summarize(subjects)}: {text}", level)
        return changed

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the progress page and of the buttons on an email's page."""
        own = [path("progress/", self.admin_site.admin_view(progress_view), {"admin": self}, "emails_email_progress")]
        for name in ACTIONS:
            view = self.admin_site.admin_view(self.action_view)
            own.append(path(f"<path:object_id>/{name}/", view, {"action_name": name}, f"emails_email_{name}"))
        return own + super().get_urls()

    def action_view(self, request: HttpRequest, object_id: str, action_name: str) -> HttpResponse:
        """Apply an action to one email, and redirect to the email's page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_manage_permission(request):
            raise PermissionDenied
        email: Email = self.get_row_or_404(request, object_id)
        self.apply_action(request, ACTIONS[action_name], [email])
        return HttpResponseRedirect(reverse("admin:emails_email_change", args=[quote(email.pk)]))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Render the email's page with its events, its recipients and the actions that are possible now."""
        email: Email = kwargs["obj"]
        may_manage = self.has_manage_permission(request)
        context |= {
            "owner_name": owner_names({email.owner}).get(email.owner, email.owner),
            "cursor": last_event_id(),  # read before the events, so that events between the two queries are not missed
            "events": list(email.events.all()),
            "recipient_rows": recipient_rows(email),
            "possible_actions": [name for name, action in ACTIONS.items() if may_manage and email.status in action.allowed],
        }
        return super().render_change_form(request, context, *args, **kwargs)


def summarize(subjects: list[str]) -> str:
    """Return the subjects in quotes, or only their number if there are more than `MAX_NAMED_EMAILS`."""
    return ", ".join(f"“{subject}”" for subject in subjects) if len(subjects) <= MAX_NAMED_EMAILS else f"{len(subjects)} emails"


def parse_email_id(term: str) -> UUID | None:
    """Parse an email id, or the email id in a Message-ID `id@domain`. Return None for other terms."""
    try:
        return UUID(term.partition("@")[0])
    except ValueError:
        return None


def owner_names(owners: Iterable[str]) -> dict[str, str]:
    """Return the names of API keys and users by owner id (`key:1`, `user:1`)."""
    pks: dict[str, list[int]] = {"key": [], "user": []}
    for owner in owners:
        kind, _, pk = owner.partition(":")
        if kind in pks and pk.isdecimal():
            pks[kind].append(int(pk))
    keys = ApiKey.objects.filter(pk__in=pks["key"]).values_list("pk", "name")
    users = User.objects.filter(pk__in=pks["user"]).values_list("pk", "username")
    return {f"key:{pk}": name for pk, name in keys} | {f"user:{pk}": name for pk, name in users}


def recipient_rows(email: Email) -> list[dict[str, Any]]:
    """Return each recipient's address, status and reply if the results differ between recipients, else an empty list."""
    if not email.recipient_results:
        return []
    return [
        {"address": address, "status": email.status} | email.recipient_results.get(address, {}) for address in email.recipients
    ]
