"""Base admin of emails: the actions on selected emails, on all matching emails, and the buttons on an email's page."""

from collections.abc import Iterable
from typing import cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from project.accounts.models import User
from project.auth.session_principal import session_principal
from project.bridge.database.transactions import call_in_transaction
from project.emails.admin.actions import ACTIONS
from project.emails.admin.bulk_actions import bulk_action_view, bulk_status_view, confirm_or_start, stop_bulk_view
from project.emails.admin.message_view import StoredMessageAdmin
from project.emails.admin.progress import progress_view, redirect_to_progress
from project.emails.models import Email
from project.errors import DomainError

ERASURE_SESSION_KEY = "erasure_emails"  # ids of the emails whose recipients the user is about to erase
MAX_NAMED_EMAILS = 5  # emails that a message lists by subject; for more emails, the message contains only their number


class EmailActionsAdmin(StoredMessageAdmin):
    """Adds the actions. Selected emails are changed at once; all matching emails are changed in the background."""

    actions = ("retry", "cancel", "resend", "erase_recipients")

    def permitted_actions(self, request: HttpRequest) -> list[str]:
        """Return the names of the actions that the user may apply."""
        return [name for name, action in ACTIONS.items() if request.user.has_perms(action.permissions)]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may retry and cancel emails."""
        return "retry" in self.permitted_actions(request)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may send emails again."""
        return "resend" in self.permitted_actions(request)

    @admin.action(description="Retry now", permissions=["retry"])
    def retry(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Queue failed and delayed emails now."""
        return self.act(request, "retry", emails)

    @admin.action(description="Cancel", permissions=["retry"])
    def cancel(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Cancel queued, scheduled and delayed emails."""
        return self.act(request, "cancel", emails)

    @admin.action(description="Send again", permissions=["resend"])
    def resend(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Send copies of emails with a final status."""
        return self.act(request, "resend", emails)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may erase persons."""
        return request.user.has_perm("retention.add_personerasure")

    @admin.action(description="Erase recipients …", permissions=["erase"])
    def erase_recipients(self, request: HttpRequest, emails: QuerySet[Email]) -> HttpResponse | None:
        """Open the page that erases persons, with the recipients of the selected emails."""
        if request.POST.get("select_across") == "1":
            self.message_user(request, "Recipients can be erased only for emails selected on one page.", messages.WARNING)
            return None
        request.session[ERASURE_SESSION_KEY] = [str(email.pk) for email in emails]  # a URL would be too long
        return HttpResponseRedirect(reverse("admin:retention_personerasure_add"))

    def act(self, request: HttpRequest, name: str, emails: QuerySet[Email]) -> HttpResponse | None:
        """Apply an action to the selected emails, and redirect to their progress, or start a bulk action for all that match."""
        if request.POST.get("select_across") == "1":
            return confirm_or_start(request, self, name)
        changed = self.apply_action(request, name, emails)
        return redirect_to_progress(request, changed) if name != "cancel" and len(changed) > 1 else None

    def apply_action(self, request: HttpRequest, name: str, emails: Iterable[Email]) -> list[UUID]:
        """Apply the action to each email, log and report the results, and return the ids of the emails to follow."""
        action, principal = ACTIONS[name], session_principal(cast("User", request.user))
        subjects_by_result: dict[tuple[int, str], list[str]] = {}
        changed: list[UUID] = []
        for email in emails:
            try:
                applied = call_in_transaction(action.apply, email.id, principal=principal, now=timezone.now())
            except DomainError as rejection:
                result = (messages.WARNING, rejection.detail)
            else:
                changed.append(UUID(str(applied.id)))
                self.log_change(request, email, action.success)
                result = (messages.SUCCESS, action.success)
            subjects_by_result.setdefault(result, []).append(email.subject or "No subject")
        for (level, text), subjects in subjects_by_result.items():
            self.message_user(request, f"{summarize(subjects)}: {text}", level)
        return changed

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the progress pages and of the buttons on an email's page."""
        view, own = self.admin_site.admin_view, {"admin": self}
        urls = [
            path("progress/", view(progress_view), own, "emails_email_progress"),
            path("bulk/<int:job_id>/", view(bulk_action_view), own, "emails_email_bulk_action"),
            path("bulk/<int:job_id>/status/", view(bulk_status_view), own, "emails_email_bulk_status"),
            path("bulk/<int:job_id>/stop/", view(stop_bulk_view), own, "emails_email_bulk_stop"),
        ]
        buttons = [
            path(f"<path:object_id>/{name}/", view(self.action_view), {"action_name": name}, f"emails_email_{name}")
            for name in ACTIONS
        ]
        return urls + buttons + super().get_urls()

    def action_view(self, request: HttpRequest, object_id: str, action_name: str) -> HttpResponse:
        """Apply an action to one email, and redirect to the page of this email, or of the new email."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if action_name not in self.permitted_actions(request):
            raise PermissionDenied
        email: Email = self.get_row_or_404(request, object_id)
        changed = self.apply_action(request, action_name, [email])
        return HttpResponseRedirect(reverse("admin:emails_email_change", args=[quote(changed[0] if changed else email.pk)]))


def summarize(subjects: list[str]) -> str:
    """Return the subjects in quotes, or only their number if there are more than `MAX_NAMED_EMAILS`."""
    return ", ".join(f"“{subject}”" for subject in subjects) if len(subjects) <= MAX_NAMED_EMAILS else f"{len(subjects):,} emails"
