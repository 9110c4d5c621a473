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

from project.accounts.models import ApiKey, User
from project.accounts.principal import of_session
from project.bridge import database
from project.errors import Refusal
from project.outbox.addresses import normal_address
from project.outbox.admin import progress
from project.outbox.admin.dashboard import figures_view
from project.outbox.admin.filters import CallerFilter, DayFilter, StatusFilter, TagFilter
from project.outbox.admin.letters import LetterAdmin
from project.outbox.admin.listing import Pages
from project.outbox.change import cancel_email, retry_email
from project.outbox.models import Email
from project.outbox.queries import last_event_id
from project.outbox.states import CANCELABLE, Status


@dataclass(frozen=True)
class Verb:
    """What can be done to a mail, and how that is told."""

    change: Callable[..., Email]
    done: str
    possible: tuple[Status, ...]


NAMED = 5  # mails that a message has room for
VERBS = {"retry": Verb(retry_email, "Queued again", (Status.FAILED,)), "cancel": Verb(cancel_email, "Canceled", CANCELABLE)}


class EmailList(Pages):
    """The e-mails of a page, with the names of who sent them."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """By id: where a tag is asked for, by that column of its index, or SQLite would sort all that have it."""
        return ["-tag__email_id"] if self.params.get(TagFilter.parameter_name) else super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        """One page."""
        super().get_results(request)
        names = names_of({email.caller for email in self.result_list})
        for email in self.result_list:
            email.caller_name = names.get(email.caller, email.caller)


@admin.register(Email)
class EmailAdmin(LetterAdmin):
    """Mail on its way."""

    list_display = ("subject_line", "state", "to_line", "by", "accepted")
    list_display_links = ("subject_line",)
    list_filter = (StatusFilter, CallerFilter, DayFilter, TagFilter)
    search_fields = ("id",)
    search_help_text = "A recipient's address, an id, or a Message-ID."
    actions = ("retry", "cancel")
    change_form_template = "admin/outbox/email/letter.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Email]:
        """Without what is long: a page shows the source."""
        return super().get_queryset(request).defer("text", "html")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that knows names."""
        return EmailList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """By what has an index, and by nothing else."""
        term = search_term.strip().strip("<>")
        if not term:
            return queryset, False
        if (email_id := id_in(term)) is not None:
            return queryset.filter(pk=email_id), False
        try:
            found = queryset.filter(recipient__address=normal_address(term))
        except ValueError:
            messages.warning(request, "E-mails are found by a recipient's whole address, by id, or by Message-ID.")
            return queryset.none(), False
        return found.order_by("-recipient__email_id"), False  # as it is in the index: nothing is left to be sorted

    def source_of(self, letter: Email) -> bytes:
        """What is sent."""
        return bytes(letter.source.content)

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
        return str(getattr(email, "caller_name", email.caller))

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
        return request.user.has_perm("outbox.change_email")

    @admin.action(description="Retry the selected e-mails", permissions=["operate"])
    def retry(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Send them again; if they are many, there is a page to watch them on."""
        done = self.operate(request, VERBS["retry"], emails)
        return progress.watch(request, done) if len(done) > 1 else None

    @admin.action(description="Cancel the selected e-mails", permissions=["operate"])
    def cancel(self, request: HttpRequest, emails: QuerySet[Email]) -> None:
        """Keep them from being sent."""
        self.operate(request, VERBS["cancel"], emails)

    def operate(self, request: HttpRequest, verb: Verb, emails: Iterable[Email]) -> list[Email]:
        """Do it to each, and tell what came of each. Gives those to which it was done."""
        told: dict[tuple[int, str], list[str]] = {}
        done: list[Email] = []
        for email in emails:
            try:
                database.call(verb.change, email.id, caller=of_session(cast("User", request.user)), now=timezone.now())
            except Refusal as refusal:
                told.setdefault((messages.WARNING, refusal.detail), []).append(self.subject_line(email))
            else:
                done.append(email)
                self.log_change(request, email, f"{verb.done}.")
                told.setdefault((messages.SUCCESS, f"{verb.done}."), []).append(self.subject_line(email))
        for (level, what), subjects in told.items():
            self.message_user(request, f"{named(subjects)}: {what}", level)
        return done

    def get_urls(self) -> list[URLPattern]:
        """With those of the buttons, and of the pages about many mails."""
        own = [
            path("figures/", self.admin_site.admin_view(figures_view), name="outbox_email_figures"),
            path("progress/", self.admin_site.admin_view(progress.page), {"admin": self}, "outbox_email_progress"),
        ]
        own += [
            path(
                f"<path:object_id>/{name}/", self.admin_site.admin_view(self.button_view), {"verb": name}, f"outbox_email_{name}"
            )
            for name in VERBS
        ]
        return own + super().get_urls()

    def button_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Do it to the mail of a page, and go back there."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_operate_permission(request):
            raise PermissionDenied
        email: Email = self.letter(request, object_id)
        self.operate(request, VERBS[verb], [email])
        return HttpResponseRedirect(reverse("admin:outbox_email_change", args=[quote(email.pk)]))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with what happened to the mail and what can be done to it."""
        email: Email = kwargs["obj"]
        may = self.has_operate_permission(request)
        context |= {
            "caller_name": names_of({email.caller}).get(email.caller, email.caller),
            "cursor": last_event_id(),  # first: what happens while the rest is read is told again
            "events": list(email.events.all()),
            "ends": ends_of(email),
            "verbs": [name for name, verb in VERBS.items() if may and email.status in verb.possible],
        }
        return super().render_change_form(request, context, *args, **kwargs)


def named(subjects: list[str]) -> str:
    """Which mails these are or, if they are many, how many."""
    return ", ".join(f"“{subject}”" for subject in subjects) if len(subjects) <= NAMED else f"{len(subjects)} e-mails"


def id_in(term: str) -> UUID | None:
    """The id that is written there, alone or as the `id@domain` of a Message-ID."""
    try:
        return UUID(term.partition("@")[0])
    except ValueError:
        return None


def names_of(callers: Iterable[str]) -> dict[str, str]:
    """What keys and people are called, by `caller_id`."""
    pks: dict[str, list[int]] = {"key": [], "user": []}
    for caller in callers:
        kind, _, pk = caller.partition(":")
        if kind in pks and pk.isdecimal():
            pks[kind].append(int(pk))
    keys = ApiKey.objects.filter(pk__in=pks["key"]).values_list("pk", "name")
    users = User.objects.filter(pk__in=pks["user"]).values_list("pk", "username")
    return {f"key:{pk}": name for pk, name in keys} | {f"user:{pk}": name for pk, name in users}


def ends_of(email: Email) -> list[dict[str, Any]]:
    """How it ended for each recipient, if not for all in the same way."""
    if not email.settled:
        return []
    return [{"address": address, "status": email.status} | email.settled.get(address, {}) for address in email.recipients]
