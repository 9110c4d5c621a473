"""Device cookies (OWASP, "Device cookies"): a browser that a user has logged in with is known for this user.

Failed logins from a known device are counted separately. So a stranger who knows only the username cannot lock the user out of
their own browser. The cookie is signed, belongs to one user, and gives no access.
"""

import secrets
from datetime import timedelta
from hashlib import sha256

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

MAX_AGE = timedelta(days=180)
_SALT = "mailrail.known-device"


def known_device(request: HttpRequest, username: str) -> str | None:
    """Return the id of the device if this user has logged in with it, or None for an unknown device."""
    cookie = request.COOKIES.get(_cookie_name(username))
    if cookie is None:
        return None
    try:
        return str(signing.loads(cookie, salt=_salt(username), max_age=MAX_AGE))
    except signing.BadSignature:
        return None


def remember_device(response: HttpResponse, username: str) -> None:
    """Make the browser a known device of the user. Each login creates a new id."""
    response.set_cookie(
        _cookie_name(username),
        signing.dumps(secrets.token_urlsafe(16), salt=_salt(username)),
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _cookie_name(username: str) -> str:
    # With a hash of the username, the devices of several users fit into one browser.
    return f"{settings.COOKIE_PREFIX}device-{sha256(username.encode()).hexdigest()[:16]}"


def _salt(username: str) -> str:
    return f"{_SALT}:{username}"
