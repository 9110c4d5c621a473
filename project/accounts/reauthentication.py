"""Re-authentication ("sudo mode"): pages that create or reveal credentials, or change users, need a recent password.

A stolen session, or an unlocked screen, is then not enough to gain permanent access.
"""

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

MAX_AGE = timedelta(minutes=10)
reauthenticated = Signal()  # sent with `request` and `user`
_KEY = "reauthenticated_at"  # in the session: seconds since 1970


def mark_recent(request: HttpRequest) -> None:
    """Remember that the user has entered the password, and the code if two-factor login is on, just now."""
    request.session[_KEY] = int(time.time())


def is_recent(request: HttpRequest) -> bool:
    """Return whether the user has authenticated within the last ten minutes."""
    at = request.session.get(_KEY)
    return isinstance(at, int) and 0 <= time.time() - at < MAX_AGE.total_seconds()


def reauthenticate_first(request: HttpRequest) -> HttpResponse | None:
    """Return a redirect to the page that asks for the password, or None if the user has authenticated recently."""
    if is_recent(request):
        return None
    return HttpResponseRedirect(f"{reverse('admin:reauthenticate')}?{urlencode({'next': request.get_full_path()})}")


class ReauthenticationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Admin whose forms and actions need a recent password. Reading does not need it."""

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Show Django's form. Users who may only read its row need no password."""
        can_write = self.has_add_permission(request) if object_id is None else self.has_change_permission(request)
        return (reauthenticate_first(request) if can_write else None) or super().changeform_view(
            request, object_id, *args, **kwargs
        )

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Delete a row."""
        return reauthenticate_first(request) or super().delete_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the list, or run an action on selected rows."""
        return (reauthenticate_first(request) if request.method == "POST" else None) or super().changelist_view(
            request, *args, **kwargs
        )
