"""django-axes handler: counts failed logins, and resets only the failures that belong to a successful login.

This module is separate from project.accounts.lockout, because its import connects django-axes' signal receivers. They must
run after the audit trail's receivers. Otherwise the audit trail records the failure that reaches the limit as "locked out".
"""

from collections.abc import Mapping

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.http import HttpRequest

from project.accounts.lockout import client_ip, login_username


class AxesHandler(AxesDatabaseHandler):  # type: ignore[misc]  # django-axes has no types
    """django-axes' database handler with a narrower reset.

    django-axes' own reset deletes all failures of an IP address, so an attacker with an account could guess without limit by
    logging in between guesses.
    """

    def reset_user_attempts(self, request: HttpRequest, credentials: Mapping[str, str] | None = None) -> int:
        """Delete this user's failures from this IP address after a login. All other failures stay."""
        own = AccessAttempt.objects.filter(username=login_username(request, credentials), ip_address=client_ip(request))
        deleted: int = own.delete()[0]
        return deleted
