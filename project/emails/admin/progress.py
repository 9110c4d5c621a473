"""Progress page for selected emails that were retried or sent again together."""

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

SESSION_KEY = "followed_emails"  # email ids; kept in the session, because a hundred ids are too many for a URL


def redirect_to_progress(request: HttpRequest, email_ids: Iterable[UUID]) -> HttpResponse:
    """Store the emails' ids in the session, and redirect to their progress page."""
    request.session[SESSION_KEY] = [str(email_id) for email_id in email_ids]
    return HttpResponseRedirect(reverse("admin:emails_email_progress"))


def progress_view(request: HttpRequest, admin: "ModelAdmin[Email]") -> HttpResponse:
    """Show the emails that the user retried or sent again last. Events after `cursor` reach the page through the WebSocket."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    cursor = last_event_id()  # read before the emails, so that events between the two queries are not missed
    ids = [UUID(email_id) for email_id in request.session.get(SESSION_KEY, ())]
    emails = Email.objects.filter(pk__in=ids).only("subject", "recipients", "recipient_results", "status", "last_error")
    context: dict[str, Any] = {
        **admin.admin_site.each_context(request),
        "title": "Progress",
        "opts": admin.opts,
        "media": admin.media,
        "emails": emails,
        "cursor": cursor,
    }
    return render(request, "admin/emails/email/progress.html", context)
