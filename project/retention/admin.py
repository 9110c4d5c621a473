"""Erasures of persons in the admin: the list, the form with a preview and a confirmation, and the progress."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from project.accounts.models import User
from project.accounts.reauthentication import reauthenticate_first
from project.admin.read_only import ReadOnlyAdmin
from project.bridge.database.transactions import call_in_transaction
from project.emails.admin.email_actions import ERASURE_SESSION_KEY
from project.emails.models import BulkState, Email
from project.retention.erasure_runner import PERMISSION, start_erasure, stop_erasure
from project.retention.forms import ErasureForm
from project.retention.models import PersonErasure

WRONG_PHRASE = "This is not the text to type."


@admin.register(PersonErasure)
class PersonErasureAdmin(ReadOnlyAdmin):
    """Erases persons. A recent password is needed, because an erasure cannot be undone."""

    change_list_template = "admin/retention/personerasure/erasure_list.html"
    list_display = ("progress_link", "state", "persons", "deleted", "anonymized", "unfinished", "user", "finished_at")
    list_display_links = None
    list_select_related = ("user",)
    page_title = "Erasures"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may erase persons."""
        return request.user.has_perm(PERMISSION)

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return whether the user may see erasures. Users who may erase persons may also see the progress."""
        return self.has_add_permission(request) or super().has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: the rows are a record of what was done."""
        return False

    @admin.display(description="started at")
    def progress_link(self, job: PersonErasure) -> str:
        """Return the time of the start, as a link to the progress."""
        return format_html('<a href="{}">{}</a>', progress_url(job), f"{timezone.localtime(job.created_at):%Y-%m-%d %H:%M:%S}")

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the progress."""
        view, name = self.admin_site.admin_view, "retention_personerasure"
        own = [
            path("<int:job_id>/status/", view(self.status_view), name=f"{name}_status"),
            path("<int:job_id>/stop/", view(self.stop_view), name=f"{name}_stop"),
        ]
        return own + super().get_urls()

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask for the addresses, show what would be erased, and start the erasure once the user has typed the phrase.

        The addresses are only in the bodies of requests, because URLs are logged.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        if redirect_first := reauthenticate_first(request):
            return redirect_first
        if request.method != "POST":
            selected = request.session.pop(ERASURE_SESSION_KEY, [])
            return self._page(request, "erase", form=ErasureForm(initial={"addresses": "\n".join(recipients_of(selected))}))
        form = ErasureForm(request.POST)
        if not form.is_valid() or "change" in request.POST:
            return self._page(request, "erase", form=form)
        if "confirmation" in request.POST and form.is_confirmed:
            user, with_suppression = cast("User", request.user), form.cleaned_data["with_suppression"]
            return HttpResponseRedirect(
                progress_url(start_erasure(user, form.cleaned_data["addresses"], with_suppression=with_suppression))
            )
        if "confirmation" in request.POST:
            form.add_error("confirmation", WRONG_PHRASE)
        preview = form.preview()
        return self._page(request, "confirm", form=form, preview=preview, erases=any(each["erases"] for each in preview))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the progress of an erasure."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job: PersonErasure | None = self.get_object(request, unquote(object_id))
        if job is None:
            raise Http404
        may_stop = job.state == BulkState.RUNNING and self.has_add_permission(request)
        return self._page(request, "progress", job=job, progress=progress(job), may_stop=may_stop)

    def status_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Return the progress of an erasure as JSON."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return JsonResponse(progress(get_object_or_404(PersonErasure, pk=job_id)), headers={"Cache-Control": "no-store"})

    def stop_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Stop an erasure."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_add_permission(request):
            raise PermissionDenied
        job = get_object_or_404(PersonErasure, pk=job_id)
        call_in_transaction(stop_erasure, job.pk, now=timezone.now())
        return HttpResponseRedirect(progress_url(job))

    def _page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        base = {**self.admin_site.each_context(request), "title": "Erase people", "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"admin/retention/personerasure/{name}.html", base | context)


def recipients_of(email_ids: list[str]) -> list[str]:
    """Return the recipients of emails, without duplicates."""
    lists = Email.objects.filter(pk__in=email_ids).values_list("recipients", flat=True)
    return list(dict.fromkeys(address.lower() for recipients in lists for address in recipients))


def progress_url(job: PersonErasure) -> str:
    """Return the URL of the page with the progress."""
    return reverse("admin:retention_personerasure_change", args=[job.pk])


def progress(job: PersonErasure) -> dict[str, Any]:
    """Return the state and the counts of an erasure, and a summary of them for people."""
    done = job.done
    total = done.emails if job.state == BulkState.FINISHED else max(job.matched, done.emails)
    end = {BulkState.STOPPED: " Stopped.", BulkState.FAILED: f" Ended early: {job.error}"}.get(BulkState(job.state), "")
    if done.unfinished:
        are = "email is" if done.unfinished == 1 else "emails are"
        end += f" {done.unfinished:,} {are} still to be sent: erase again afterwards."
    return {
        "state": job.state,
        "matched": total,
        "processed": done.emails,
        "summary": f"{done.emails:,} of {total:,} emails done. Erased: {done.description}.{end}",
    }
