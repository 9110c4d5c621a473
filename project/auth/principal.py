"""Who is calling, whatever proved it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from project.accounts.models import User
from project.auth.sender_patterns import matches_pattern
from project.errors import DomainError

PrincipalKind = Literal["key", "token", "session"]


class AuthFailureReason(StrEnum):
    """What is wrong with a credential: for the audit trail, not for who sent it."""

    BAD_KEY = "bad key"
    EXPIRED_KEY = "expired key"
    REVOKED_KEY = "revoked key"
    BAD_TOKEN = "bad token"  # noqa: S105  # a reason, and no token
    EXPIRED_TOKEN = "expired token"  # noqa: S105
    ENDED_TOKEN = "ended token"  # noqa: S105
    BAD_SCHEME = "bad scheme"


class NotAuthenticated(DomainError):
    """There is no credential, or it is not, or no longer, good. If one came, `why` says what is wrong with it.

    `name` is whose it is or was, if that is known.
    """

    code = "not_authenticated"

    def __init__(self, detail: str, *, reason: AuthFailureReason | None = None, name: str = "") -> None:
        super().__init__(detail)
        self.reason, self.name = reason, name


class InsufficientScope(DomainError):
    """The caller is known, but may not do this."""

    code = "missing_scope"


class SenderNotAllowed(DomainError):
    """The caller may send, but not as this sender."""

    code = "sender_not_allowed"


@dataclass(frozen=True)
class Principal:
    """A caller. `name` is for people to read, `caller_id` for its rows; `sees_all` and `changes_all` are whether it may
    see and change what is not its own.

    `senders` are the patterns that its mails' `from` has to match, any if there are none. `good_until` is when its credential
    ends, if that is known.
    """

    kind: PrincipalKind
    name: str
    scopes: frozenset[str]
    owner_id: str = ""
    can_view_all: bool = False
    can_change_all: bool = False
    allowed_senders: tuple[str, ...] = ()
    expires_at: datetime | None = None
    quota_key: int | None = None  # the row of the key whose daily quota its mails count against, if it has one

    def require(self, *scopes: str) -> None:
        """Raise `MissingScope` unless all of `scopes` are there."""
        if missing := sorted(set(scopes) - self.scopes):
            raise InsufficientScope(f"This needs the scope {', '.join(missing)}.")

    def can_send_as(self, address: str) -> bool:
        """Whether its mails may come from there. The bare address, in its normal form."""
        return not self.allowed_senders or any(matches_pattern(pattern, address) for pattern in self.allowed_senders)

    def require_sender(self, address: str) -> None:
        """Raise `SenderNotAllowed` unless it may send as this bare address."""
        if not self.can_send_as(address):
            raise SenderNotAllowed(f"This API key may not send as {address}, only as {', '.join(self.allowed_senders)}.")


def principal_for_user(kind: PrincipalKind, user: User, *, scopes: frozenset[str]) -> Principal:
    """The principal that a user is with these scopes. What is others' it may see and change as in the admin."""
    can_change_all = user.is_staff and user.has_perm("emails.change_email")
    can_view_all = can_change_all or (user.is_staff and user.has_perm("emails.view_email"))
    return Principal(kind, user.get_username(), scopes, owner_id_of_user(user), can_view_all, can_change_all)


def owner_id_of_user(user: User) -> str:
    """The `caller_id` of a user, by token or by session."""
    return f"user:{user.pk}"
