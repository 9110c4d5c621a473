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

from project.accounts.lockout import require_unlocked, reset_failures
from project.accounts.models import User
from project.accounts.two_factor import TwoFactorRequired, must_set_up_two_factor, require_second_factor
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal, principal_for_user
from project.auth.scopes import InvalidScope, scopes_for_user, unknown_scopes

LIFETIME_SECONDS = 1800  # seconds
MAX_USERNAME_LENGTH = 150  # characters of a user's
access_token_issued = Signal()  # with `request` and `user`
_SALT = "mailrail.access-token"


@dataclass(frozen=True)
class AccessToken:
    """What `POST /api/token` answers with. `expires_in` in seconds."""

    text: str
    scopes: list[str]
    expires_in: int = LIFETIME_SECONDS


def issue_access_token(
    request: HttpRequest, *, username: str, password: str, otp: str = "", scopes: Iterable[str] = ()
) -> AccessToken:
    """A token for whoever Django's authentication backends say this is; of the scopes asked for, those the user has.

    All of the user's, if none is asked for. Raises `NotAuthenticated`, `LockedOut`, `TwoFactorRequired` and `InvalidScope`.
    """
    if strangers := unknown_scopes(scopes):
        raise InvalidScope(f"There is no scope {', '.join(strangers)}.")
    storable = "\x00" not in username and len(username) <= MAX_USERNAME_LENGTH  # else PostgreSQL, asked for it, raises
    user = auth.authenticate(request, username=username, password=password) if storable else None
    require_unlocked(request, username)
    if not isinstance(user, User):
        raise NotAuthenticated("The user name or the password is wrong.")
    require_second_factor(request, user, otp)
    if must_set_up_two_factor(user):
        raise TwoFactorRequired("Two-factor login is required: set it up at /admin/two-factor/.")
    reset_failures(request, user)
    access_token_issued.send(sender=__name__, request=request, user=user)
    granted = sorted(scopes_for_user(user) & (set(scopes) or scopes_for_user(user)))
    payload = {"user": user.pk, "scopes": granted, "stamp": _credentials_hash(user)}
    return AccessToken(signing.dumps(payload, salt=_SALT), granted)


def authenticate_access_token(text: str) -> Principal:
    """Who holds this token. Raises `NotAuthenticated`."""
    try:
        payload = signing.loads(text, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature as error:
        reason = AuthFailureReason.EXPIRED_TOKEN if isinstance(error, signing.SignatureExpired) else AuthFailureReason.BAD_TOKEN
        raise NotAuthenticated("The access token is not valid, or has expired.", reason=reason) from None
    user = User.objects.filter(pk=payload["user"]).first()
    if user is None or not user.is_active or not constant_time_compare(payload["stamp"], _credentials_hash(user)):
        name = user.get_username() if user else ""
        raise NotAuthenticated("The access token was withdrawn.", reason=AuthFailureReason.ENDED_TOKEN, name=name)
    scopes = scopes_for_user(user) & set(payload["scopes"])
    return principal_for_user("token", user, scopes=scopes)


def _credentials_hash(user: User) -> str:
    # Follows the password, and tells nothing about it or about the session's own hash.
    return salted_hmac(_SALT, user.get_session_auth_hash(), algorithm="sha256").hexdigest()[:32]
