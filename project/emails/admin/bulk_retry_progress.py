"""Mails that were queued again together, on a page where their progress can be watched."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from project.emails.models import Email
from project.events.selectors import last_event_id

SESSION_KEY = "watched_emails"  # in the session: a hundred ids are too many for an address


def redirect_to_progress(request: HttpRequest, emails: Iterable[Email]) -> HttpResponse:
    """Go and watch these."""
    request.session[SESSION_KEY] = [str(email.pk) for email in emails]
    return HttpResponseRedirect(reverse("admin:emails_email_progress"))


def progress_view(request: HttpRequest, admin: "ModelAdmin[Email]") -> HttpResponse:
    """The mails that somebody queued again last, and how they stand; what comes after `cursor` is told on the socket."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    cursor = last_event_id()  # first: what happens while the mails are read is told again
    ids = [UUID(email_id) for email_id in request.session.get(SESSION_KEY, ())]
    emails = Email.objects.filter(pk__in=ids).only("subject", "recipients", "status", "last_error")
    context: dict[str, Any] = {
        **admin.admin_site.each_context(request),
        "title": "Retried e-mails",
        "opts": admin.opts,
        "media": admin.media,
        "emails": emails,
        "cursor": cursor,
    }
    return render(request, "admin/emails/email/progress.html", context)
