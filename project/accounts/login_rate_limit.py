"""The rate limit of logins, in the admin and at `POST /api/token`: each checks a password, which takes CPU time."""

from asgiref.sync import async_to_sync
from django.http import HttpRequest

from project.accounts.known_devices import known_device
from project.limits.client_network import rate_limit_network
from project.limits.rate_limits import hit

MAX_USERNAME_LENGTH = 150  # characters


def login_rate_limit_subjects(request: HttpRequest, username: str) -> list[str]:
    """Return the subjects that a login is counted for: the client network and the user, or the device if it is known.

    So strangers cannot use up the limit of a user's own browser.
    """
    if device := known_device(request, username):
        return [f"device:{device}"]
    return [rate_limit_network(request.META.get("REMOTE_ADDR")) or "unknown", f"user:{username[:MAX_USERNAME_LENGTH]}"]


def limit_logins(request: HttpRequest, username: str) -> None:
    """Count a login of a Django view. Raises `RateLimited`. The counters belong to the server's event loop."""
    for subject in login_rate_limit_subjects(request, username):
        async_to_sync(hit)("login", subject)
