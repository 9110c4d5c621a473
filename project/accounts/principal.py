"""Who is calling, whatever proved it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from project.accounts.models import User
from project.accounts.scopes import scopes_of
from project.accounts.senders import matches
from project.errors import Refusal

Kind = Literal["key", "token", "session"]


class Why(StrEnum):
    """What is wrong with a credential: for the audit trail, not for who sent it."""

    BAD_KEY = "bad key"
    EXPIRED_KEY = "expired key"
    REVOKED_KEY = "revoked key"
    BAD_TOKEN = "bad token"  # noqa: S105  # a reason, and no token
    EXPIRED_TOKEN = "expired token"  # noqa: S105
    ENDED_TOKEN = "ended token"  # noqa: S105
    BAD_SCHEME = "bad scheme"
    WRONG_CODE = "wrong code"
    NO_CODE = "no code"


class NotAuthenticated(Refusal):
    """There is no credential, or it is not, or no longer, good. If one came, `why` says what is wrong with it.

    `name` is whose it is or was, if that is known.
    """

    code = "not_authenticated"

    def __init__(self, detail: str, *, why: Why | None = None, name: str = "") -> None:
        super().__init__(detail)
        self.why, self.name = why, name


class MissingScope(Refusal):
    """The caller is known, but may not do this."""

    code = "missing_scope"


class SenderNotAllowed(Refusal):
    """The caller may send, but not as this sender."""

    code = "sender_not_allowed"


@dataclass(frozen=True)
class Principal:
    """A caller. `name` is for people to read, `caller_id` for its rows; `sees_all` and `changes_all` are whether it may
    see and change what is not its own.

    `senders` are the patterns that its mails' `from` has to match, any if there are none. `good_until` is when its credential
    ends, if that is known.
    """

    kind: Kind
    name: str
    scopes: frozenset[str]
    caller_id: str = ""
    sees_all: bool = False
    changes_all: bool = False
    senders: tuple[str, ...] = ()
    good_until: datetime | None = None
    quota_key: int | None = None  # the row of the key whose daily quota its mails count against, if it has one

    def require(self, *scopes: str) -> None:
        """Raise `MissingScope` unless all of `scopes` are there."""
        if missing := sorted(set(scopes) - self.scopes):
            raise MissingScope(f"This needs the scope {', '.join(missing)}.")

    def may_send_as(self, address: str) -> bool:
        """Whether its mails may come from there. The bare address, in its normal form."""
        return not self.senders or any(matches(pattern, address) for pattern in self.senders)

    def require_sender(self, address: str) -> None:
        """Raise `SenderNotAllowed` unless it may send as this bare address."""
        if not self.may_send_as(address):
            raise SenderNotAllowed(f"This API key may not send as {address}, only as {', '.join(self.senders)}.")


def of_session(user: User) -> Principal:
    """The principal behind a signed-in user."""
    return of_user("session", user, scopes=scopes_of(user))


def of_user(kind: Kind, user: User, *, scopes: frozenset[str]) -> Principal:
    """The principal that a user is with these scopes. What is others' it may see and change as in the admin."""
    changes_all = user.is_staff and user.has_perm("outbox.change_email")
    sees_all = changes_all or (user.is_staff and user.has_perm("outbox.view_email"))
    return Principal(kind, user.get_username(), scopes, user_id(user), sees_all, changes_all)


def user_id(user: User) -> str:
    """The `caller_id` of a user, by token or by session."""
    return f"user:{user.pk}"
