"""The e-mails in the admin: found, looked at, retried and canceled, by the same functions that the API calls."""

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
from project.auth.session import session_principal
from project.bridge.database.transactions import call_in_transaction
from project.emails.actions import cancel_email, retry_email
from project.emails.admin.bulk_retry_progress import progress_view, redirect_to_progress
from project.emails.admin.filters import DayFilter, OwnerFilter, StatusFilter, TagFilter
from project.emails.admin.message_view import StoredMessageAdmin
from project.emails.mime.email_addresses import normalize_address
from project.emails.models import Email
from project.emails.status import CANCELABLE, Status
from project.errors import DomainError
from project.events.selectors import last_event_id


@dataclass(frozen=True)
class Action:
    """What can be done to a mail, and how that is told."""

    change: Callable[..., Email]
    done: str
    possible: tuple[Status, ...]


MAX_NAMED_EMAILS = 5  # mails that a message has room for
ACTIONS = {"retry": Action(retry_email, "Queued again", (Status.FAILED,)), "cancel": Action(cancel_email, "Canceled", CANCELABLE)}


class EmailChangeList(KeysetChangeList):
    """The e-mails of a page, with the names of who sent them."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By id: where a tag is asked for, by that column of its index, or SQLite would sort all that have it."""
        return ["-tag__email_id"] if self.params.get(TagFilter.parameter_name) else super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        """One page."""
        super().get_results(request)
        names = owner_names({email.owner for email in self.result_list})
        for email in self.result_list:
            email.owner_name = names.get(email.owner, email.owner)


@admin.register(Email)
class EmailAdmin(StoredMessageAdmin):
    """Mail on its way."""

    list_display = ("subject_line", "state", "to_line", "by", "accepted")
    list_display_links = ("subject_line",)
    list_filter = (StatusFilter, OwnerFilter, DayFilter, TagFilter)
    search_fields = ("id",)
    search_help_text = "A recipient's address, an id, or a Message-ID."
    actions = ("retry", "cancel")
    change_form_template = "admin/emails/email/email_detail.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Email]:
        """Without what is long: a page shows the source."""
        return super().get_queryset(request).defer("text", "html")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that knows names."""
        return EmailChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """By what has an index, and by nothing else."""
        term = search_term.strip().strip("<>")
        if not term:
            return queryset, False
        if (email_id := parse_email_id(term)) is not None:
            return queryset.filter(pk=email_id), False
        try:
            found = queryset.filter(recipient__address=normalize_address(term))
        except ValueError:
            messages.warning(request, "E-mails are found by a recipient's whole address, by id, or by Message-ID.")
            return queryset.none(), False
        return found.order_by("-recipient__email_id"), False  # as it is in the index: nothing is left to be sorted

    def source_of(self, letter: Email) -> bytes:
        """What is sent."""
        return bytes(letter.raw_message.content)

    # Columns

    @admin.display(description="subject")
    def subject_line(self, email: Email) -> str:
        """Something to click on, in any case."""
        return email.subject or "No subject"

    @admin.display(description="to")
    def to_line(self, email: Email) -> str:
        """The first recipient, and how many more."""
        first, *others = email.recipients
        return f"{first} and {len(others)} more" if others else str(first)

    @admin.display(description="status")
    def state(self, email: Email) -> str:
        """The status, in its colour."""
        return format_html('<span class="status status-{0}">{0}</span>', email.status)

    @admin.display(description="key", empty_value="")
    def by(self, email: Email) -> str:
        """Who sent it."""
        return str(getattr(email, "owner_name", email.owner))

    @admin.display(description="accepted")
    def accepted(self, email: Email) -> str:
        """When, to the second."""
        day, time = f"{timezone.localtime(email.created_at):%Y-%m-%d %H:%M:%S}".split()
        return format_html("<time>{}</time> <time>{}</time>", day, time)  # which a narrow column sets below each other

    # What can be done

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never: what was accepted is canceled, or delivered."""
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may retry and cancel."""
        return request.user.has_perm("emails.change_email")

    @admin.action(description="Retry the selected e-mails", permissions=["operate"])
    def retry(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Send them again; if they are many, there is a page to watch them on."""
        done = self.operate(request, ACTIONS["retry"], emails)
        return redirect_to_progress(request, done) if len(done) > 1 else None

    @admin.action(description="Cancel the selected e-mails", permissions=["operate"])
    def cancel(self, request: HttpRequest, emails: QuerySet[Email]) -> None:
        """Keep them from being sent."""
        self.operate(request, ACTIONS["cancel"], emails)

    def operate(self, request: HttpRequest, verb: Action, emails: Iterable[Email]) -> list[Email]:
        """Do it to each, and tell what came of each. Gives those to which it was done."""
        told: dict[tuple[int, str], list[str]] = {}
        done: list[Email] = []
        for email in emails:
            try:
                call_in_transaction(
                    verb.change, email.id, principal=session_principal(cast("User", request.user)), now=timezone.now()
                )
            except DomainError as refusal:
                told.setdefault((messages.WARNING, refusal.detail), []).append(self.subject_line(email))
            else:
                done.append(email)
                self.log_change(request, email, f"{verb.done}.")
                told.setdefault((messages.SUCCESS, f"{verb.done}."), []).append(self.subject_line(email))
        for (level, what), subjects in told.items():
            self.message_user(request, f"{summarize(subjects)}: {what}", level)
        return done

    def get_urls(self) -> list[URLPattern]:
        """With those of the buttons, and of the pages about many mails."""
        own = [
            path("progress/", self.admin_site.admin_view(progress_view), {"admin": self}, "emails_email_progress"),
        ]
        own += [
            path(
                f"<path:object_id>/{name}/", self.admin_site.admin_view(self.button_view), {"verb": name}, f"emails_email_{name}"
            )
            for name in ACTIONS
        ]
        return own + super().get_urls()

    def button_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Do it to the mail of a page, and go back there."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_operate_permission(request):
            raise PermissionDenied
        email: Email = self.letter(request, object_id)
        self.operate(request, ACTIONS[verb], [email])
        return HttpResponseRedirect(reverse("admin:emails_email_change", args=[quote(email.pk)]))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with what happened to the mail and what can be done to it."""
        email: Email = kwargs["obj"]
        may = self.has_operate_permission(request)
        context |= {
            "owner_name": owner_names({email.owner}).get(email.owner, email.owner),
            "cursor": last_event_id(),  # first: what happens while the rest is read is told again
            "events": list(email.events.all()),
            "ends": recipient_rows(email),
            "verbs": [name for name, verb in ACTIONS.items() if may and email.status in verb.possible],
        }
        return super().render_change_form(request, context, *args, **kwargs)


def summarize(subjects: list[str]) -> str:
    """Which mails these are or, if they are many, how many."""
    return ", ".join(f"“{subject}”" for subject in subjects) if len(subjects) <= MAX_NAMED_EMAILS else f"{len(subjects)} e-mails"


def parse_email_id(term: str) -> UUID | None:
    """The id that is written there, alone or as the `id@domain` of a Message-ID."""
    try:
        return UUID(term.partition("@")[0])
    except ValueError:
        return None


def owner_names(owners: Iterable[str]) -> dict[str, str]:
    """What keys and people are called, by `caller_id`."""
    pks: dict[str, list[int]] = {"key": [], "user": []}
    for owner in owners:
        kind, _, pk = owner.partition(":")
        if kind in pks and pk.isdecimal():
            pks[kind].append(int(pk))
    keys = ApiKey.objects.filter(pk__in=pks["key"]).values_list("pk", "name")
    users = User.objects.filter(pk__in=pks["user"]).values_list("pk", "username")
    return {f"key:{pk}": name for pk, name in keys} | {f"user:{pk}": name for pk, name in users}


def recipient_rows(email: Email) -> list[dict[str, Any]]:
    """How it ended for each recipient, if not for all in the same way."""
    if not email.recipient_results:
        return []
    return [
        {"address": address, "status": email.status} | email.recipient_results.get(address, {}) for address in email.recipients
    ]
