"""The principal (a caller authenticated by any kind of credential) and the errors of authentication and authorization."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from project.accounts.models import User
from project.auth.sender_patterns import matches_pattern
from project.errors import DomainError

PrincipalKind = Literal["key", "token", "session"]


class AuthFailureReason(StrEnum):
    """Reason why a credential was rejected. It is written to the audit trail, and is not part of the response."""

    BAD_KEY = "bad key"
    EXPIRED_KEY = "expired key"
    REVOKED_KEY = "revoked key"
    INACTIVE_OWNER = "owner deactivated"
    BAD_TOKEN = "bad token"  # noqa: S105  # a reason, not a token
    EXPIRED_TOKEN = "expired token"  # noqa: S105
    REVOKED_TOKEN = "revoked token"  # noqa: S105
    BAD_SCHEME = "bad scheme"


class NotAuthenticated(DomainError):
    """The credential is missing or invalid.

    `reason` is set if an API key, access token or Authorization header was rejected. `name` is the name of the key or user,
    if known.
    """

    code = "not_authenticated"

    def __init__(self, detail: str, *, reason: AuthFailureReason | None = None, name: str = "") -> None:
        super().__init__(detail)
        self.reason, self.name = reason, name


class InsufficientScope(DomainError):
    """The caller is authenticated, but lacks a required scope."""

    code = "insufficient_scope"


class SenderNotAllowed(DomainError):
    """The caller may send emails, but not from this email address."""

    code = "sender_not_allowed"


@dataclass(frozen=True)
class Principal:
    """An authenticated caller."""

    kind: PrincipalKind
    name: str  # for display: a username, or the name of an API key
    scopes: frozenset[str]
    owner_id: str = ""  # the `owner` of the rows that the principal creates
    can_view_all: bool = False  # may also view the emails of other owners
    can_change_all: bool = False  # may also change the emails of other owners
    allowed_senders: tuple[str, ...] = ()  # patterns for the From address; if empty, any From address is allowed
    expires_at: datetime | None = None  # when the credential expires, if known
    quota_key: int | None = None  # primary key of the API key, if the key has a daily quota
    label: str = ""  # the name in the audit trail, if `name` is ambiguous

    @property
    def audit_name(self) -> str:
        """Return the name of the caller in the audit trail."""
        return self.label or self.name

    def require(self, *scopes: str) -> None:
        """Raise `InsufficientScope` unless the principal has all of `scopes`."""
        if missing := sorted(set(scopes) - self.scopes):
            raise InsufficientScope(f"Missing required scope: {', '.join(missing)}.")

    def can_send_as(self, address: str) -> bool:
        """Return whether the principal may send from a normalized email address without a display name."""
        return not self.allowed_senders or any(matches_pattern(pattern, address) for pattern in self.allowed_senders)

    def require_sender(self, address: str) -> None:
        """Raise `SenderNotAllowed` unless the principal may send from a normalized email address without a display name."""
        if not self.can_send_as(address):
            raise SenderNotAllowed(
                f"This API key cannot send from {address}. Allowed From addresses: {', '.join(self.allowed_senders)}."
            )


def principal_for_user(kind: PrincipalKind, user: User, *, scopes: frozenset[str]) -> Principal:
    """Return a user's principal with these scopes. Its rights to other owners' emails are those of the user in the admin."""
    can_change_all = user.is_staff and user.has_perm("emails.change_email")
    can_view_all = can_change_all or (user.is_staff and user.has_perm("emails.view_email"))
    return Principal(kind, user.get_username(), scopes, owner_id_of_user(user), can_view_all, can_change_all)


def owner_id_of_user(user: User) -> str:
    """Return the `owner_id` for a user's access tokens and sessions."""
    return f"user:{user.pk}"
