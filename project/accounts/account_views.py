"""Pages of the admin for the user's own account: the sessions, and the password that some pages ask for again."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from project.accounts.forms import ReauthenticationForm
from project.accounts.lockout import check_password, complete_attempt, require_unlocked
from project.accounts.login_rate_limit import limit_logins
from project.accounts.models import User
from project.accounts.reauthentication import MAX_AGE, mark_recent, reauthenticated
from project.accounts.sessions import end_all_sessions, end_session, sessions_of
from project.accounts.two_factor import TwoFactorRequired, require_second_factor
from project.bridge.database.transactions import call_in_transaction

INCORRECT_PASSWORD = "The password is incorrect."  # noqa: S105  # a message
MAX_ID_LENGTH = 18  # digits of a 64-bit integer


def sessions_view(site: AdminSite, request: HttpRequest, user: User) -> HttpResponse:
    """Show the user's sessions. A POST ends one of them, or all others."""
    if request.method == "POST":
        _end_sessions(request, user)
        return redirect("admin:sessions")
    sessions = sessions_of(user, now=timezone.now())
    context = {"title": "Sessions", "sessions": sessions, "current_key": request.session.session_key}
    return TemplateResponse(request, "admin/sessions.html", site.each_context(request) | context)


def _end_sessions(request: HttpRequest, user: User) -> None:
    if "others" in request.POST:
        call_in_transaction(end_all_sessions, user)
        update_session_auth_hash(request, user)  # keeps this session
        messages.success(request, "You were logged out everywhere else, and your access tokens were revoked.")
        return
    session_id = request.POST.get("session", "")
    is_number = session_id.isascii() and session_id.isdecimal() and len(session_id) <= MAX_ID_LENGTH
    if is_number and call_in_transaction(end_session, user, int(session_id)):
        messages.success(request, "The session was logged out, and your access tokens were revoked.")
    else:
        messages.warning(request, "This session has already ended.")


def reauthenticate_view(site: AdminSite, request: HttpRequest, user: User) -> HttpResponse:
    """Ask for the password again, and for the code if two-factor login is on. Then redirect to the page that asked for it."""
    form = ReauthenticationForm(request.POST if request.method == "POST" else None, needs_code=user.device is not None)
    if form.is_valid() and _reauthenticate(request, user, form):
        return redirect(_next_url(request))
    minutes = int(MAX_AGE.total_seconds() / 60)
    context: dict[str, Any] = {"title": "Confirm your password", "form": form, "next": _next_url(request), "minutes": minutes}
    return TemplateResponse(request, "admin/reauthenticate.html", site.each_context(request) | context)


def _reauthenticate(request: HttpRequest, user: User, form: ReauthenticationForm) -> bool:
    """Check the password and the code. Return False, and add the error to the form, if one of them is wrong."""
    limit_logins(request, user.get_username())
    if check_password(request, user.get_username(), form.cleaned_data["password"]) != user:
        require_unlocked(request)
        form.add_error("password", INCORRECT_PASSWORD)
        return False
    try:
        require_second_factor(request, user, form.cleaned_data.get("otp", "").strip())
    except TwoFactorRequired as error:
        form.add_error("otp", error.detail)
        return False
    complete_attempt(request)
    mark_recent(request)
    reauthenticated.send(sender=__name__, request=request, user=user)
    return True


def _next_url(request: HttpRequest) -> str:
    """Return the page to return to. A page of another host is replaced by the admin's start page."""
    url = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(url, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return url if is_ours else reverse("admin:index")
