"""How failed logins are counted: as django-axes does, but for what a login takes back.

Apart from the lock, since django-axes begins to listen when its handler is imported: after the audit trail, which else is told of
the failure that locks as of one that came after.
"""

from collections.abc import Mapping

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.http import HttpRequest

from project.accounts.lockout import client_ip, login_username


class AxesHandler(AxesDatabaseHandler):  # type: ignore[misc]  # it comes without types
    """Those of django-axes. Its own would let an address that guesses at others go on after each login of its own."""

    def reset_user_attempts(self, request: HttpRequest, credentials: Mapping[str, str] | None = None) -> int:
        """After a login: forget this user's failures from this address. What it failed at others', and others at this, stays."""
        own = AccessAttempt.objects.filter(username=login_username(request, credentials), ip_address=client_ip(request))
        deleted: int = own.delete()[0]
        return deleted
