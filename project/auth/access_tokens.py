"""Access tokens: short-lived and signed, not stored. A logout, a new password or a deactivated user revokes them at once.

They use Django's signing (HMAC-SHA256 with SECRET_KEY, including the time of issue) and not JWT, because Django's signing needs
no dependency, and an attacker cannot choose the algorithm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.core import signing
from django.db.models import F
from django.dispatch import Signal, receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

from project.accounts.lockout import cancel_attempt, check_password, complete_attempt, require_unlocked
from project.accounts.models import User
from project.accounts.sessions import sessions_ended
from project.accounts.two_factor import SET_UP_TWO_FACTOR, TwoFactorRequired, must_set_up_two_factor, require_second_factor
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal, principal_for_user
from project.auth.scopes import require_known_scopes, scopes_for_user

LIFETIME_SECONDS = 1800
MAX_USERNAME_LENGTH = 150  # characters
access_token_issued = Signal()  # sent with `request` and `user`
_SALT = "mailrail.access-token"


@dataclass(frozen=True)
class AccessToken:
    """A new token and its scopes. `expires_in` is in seconds."""

    text: str
    scopes: list[str]
    expires_in: int = LIFETIME_SECONDS


def issue_access_token(
    request: HttpRequest, *, username: str, password: str, otp: str = "", scopes: Iterable[str] = ()
) -> AccessToken:
    """Authenticate a user with Django's backends and return a token with the requested scopes that the user has.

    Without requested scopes, the token has all scopes of the user. Raises `NotAuthenticated`, `LockedOut`, `LoginBusy`,
    `TwoFactorRequired` and `InvalidScope`.
    """
    require_known_scopes(scopes)
    is_storable = "\x00" not in username and len(username) <= MAX_USERNAME_LENGTH  # PostgreSQL raises an error otherwise
    user = check_password(request, username, password) if is_storable else None
    if not isinstance(user, User):
        require_unlocked(request)
        raise NotAuthenticated("Incorrect username or password.")
    require_second_factor(request, user, otp)
    if must_set_up_two_factor(user):
        cancel_attempt(request)
        raise TwoFactorRequired(SET_UP_TWO_FACTOR)
    complete_attempt(request)
    access_token_issued.send(sender=__name__, request=request, user=user)
    granted = sorted(scopes_for_user(user) & (set(scopes) or scopes_for_user(user)))
    payload = {"user": user.pk, "scopes": granted, "stamp": _credentials_hash(user)}
    return AccessToken(signing.dumps(payload, salt=_SALT), granted)


def authenticate_access_token(text: str) -> Principal:
    """Return the principal of a token, with the token's scopes that the user still has. Raises `NotAuthenticated`."""
    try:
        payload = signing.loads(text, salt=_SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature as error:
        reason = AuthFailureReason.EXPIRED_TOKEN if isinstance(error, signing.SignatureExpired) else AuthFailureReason.BAD_TOKEN
        raise NotAuthenticated("The access token is invalid or has expired.", reason=reason) from None
    user = User.objects.filter(pk=payload["user"]).first()
    if user is None or not user.is_active or not _has_current_credentials(payload["stamp"], user):
        name = user.get_username() if user else ""
        raise NotAuthenticated("The access token was revoked.", reason=AuthFailureReason.REVOKED_TOKEN, name=name)
    if must_set_up_two_factor(user):
        raise NotAuthenticated(SET_UP_TWO_FACTOR, reason=AuthFailureReason.REVOKED_TOKEN, name=user.get_username())
    scopes = scopes_for_user(user) & set(payload["scopes"])
    return principal_for_user("token", user, scopes=scopes)


def revoke_access_tokens(user: User) -> None:
    """Revoke all access tokens of the user."""
    user.token_version = F("token_version") + 1  # computed by the database, so no logout is lost
    user.save(update_fields=["token_version"])
    user.refresh_from_db(fields=["token_version"])


@receiver(user_logged_out)
def _on_logout(user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        revoke_access_tokens(user)


@receiver(sessions_ended)
def _on_sessions_ended(user: User, **_kwargs: Any) -> None:
    revoke_access_tokens(user)


def _has_current_credentials(stamp: str, user: User) -> bool:
    """Return whether the stamp is the hash of the user's credentials, by the current secret key or by an earlier one."""
    if constant_time_compare(stamp, _credentials_hash(user)):
        return True
    earlier = zip(user.get_session_auth_fallback_hash(), settings.SECRET_KEY_FALLBACKS, strict=True)
    return any(constant_time_compare(stamp, _hash_with_key(user, session_hash, key)) for session_hash, key in earlier)


def _credentials_hash(user: User) -> str:
    # The hash changes when the password or the device changes, but reveals neither the password nor the session's own hash.
    return _hash_with_key(user, user.get_session_auth_hash(), settings.SECRET_KEY)


def _hash_with_key(user: User, session_hash: str, key: str) -> str:
    # Version 0 is left out, so that the tokens of earlier versions of Mailrail stay valid.
    text = f"{session_hash}:{user.token_version}" if user.token_version else session_hash
    return salted_hmac(_SALT, text, secret=key, algorithm="sha256").hexdigest()[:32]
