"""Access tokens: short-lived, signed, stored nowhere. A changed password or a deactivated user ends them at once.

Django's signing (HMAC-SHA256 under SECRET_KEY, with the time of issue) rather than JWT: it is already here, and there
is no algorithm for an attacker to choose.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import auth
from django.core import signing
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

from project.accounts.lockout import forget_failures, require_unlocked
from project.accounts.models import User
from project.accounts.principal import NotAuthenticated, Principal, Why, of_user
from project.accounts.scopes import InvalidScope, scopes_of, unknown
from project.accounts.two_factor import TwoFactorRequired, must_set_up, require_code

LIFETIME = 1800  # seconds
LONGEST_NAME = 150  # characters of a user's
token_issued = Signal()  # with `request` and `user`
_SALT = "mailrail.access-token"


@dataclass(frozen=True)
class AccessToken:
    """What `POST /api/token` answers with. `expires_in` in seconds."""

    text: str
    scopes: list[str]
    expires_in: int = LIFETIME


def issue_token(request: HttpRequest, *, username: str, password: str, otp: str = "", scopes: Iterable[str] = ()) -> AccessToken:
    """A token for whoever Django's authentication backends say this is; of the scopes asked for, those the user has.

    All of the user's, if none is asked for. Raises `NotAuthenticated`, `LockedOut`, `TwoFactorRequired` and `InvalidScope`.
    """
    if strangers := unknown(scopes):
        raise InvalidScope(f"There is no scope {', '.join(strangers)}.")
    storable = "\x00" not in username and len(username) <= LONGEST_NAME  # else PostgreSQL, asked for it, raises
    user = auth.authenticate(request, username=username, password=password) if storable else None
    require_unlocked(request, username)
    if not isinstance(user, User):
        raise NotAuthenticated("The user name or the password is wrong.")
    require_code(request, user, otp)
    if must_set_up(user):
        raise TwoFactorRequired("Two-factor login is required: set it up at /admin/two-factor/.")
    forget_failures(request, user)
    token_issued.send(sender=__name__, request=request, user=user)
    granted = sorted(scopes_of(user) & (set(scopes) or scopes_of(user)))
    payload = {"user": user.pk, "scopes": granted, "stamp": _stamp(user)}
    return AccessToken(signing.dumps(payload, salt=_SALT), granted)


def principal_of_token(text: str) -> Principal:
    """Who holds this token. Raises `NotAuthenticated`."""
    try:
        payload = signing.loads(text, salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature as error:
        why = Why.EXPIRED_TOKEN if isinstance(error, signing.SignatureExpired) else Why.BAD_TOKEN
        raise NotAuthenticated("The access token is not valid, or has expired.", why=why) from None
    user = User.objects.filter(pk=payload["user"]).first()
    if user is None or not user.is_active or not constant_time_compare(payload["stamp"], _stamp(user)):
        name = user.get_username() if user else ""
        raise NotAuthenticated("The access token was withdrawn.", why=Why.ENDED_TOKEN, name=name)
    scopes = scopes_of(user) & set(payload["scopes"])
    return of_user("token", user, scopes=scopes)


def _stamp(user: User) -> str:
    # Follows the password, and tells nothing about it or about the session's own hash.
    return salted_hmac(_SALT, user.get_session_auth_hash(), algorithm="sha256").hexdigest()[:32]
