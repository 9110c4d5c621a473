"""Who is calling, whatever proved it."""

from dataclasses import dataclass
from typing import Literal

from project.accounts.models import User
from project.accounts.scopes import scopes_of
from project.errors import Refusal

Kind = Literal["key", "token", "session"]


class NotAuthenticated(Refusal):
    """There is no credential, or it is not, or no longer, good."""

    code = "not_authenticated"


class MissingScope(Refusal):
    """The caller is known, but may not do this."""

    code = "missing_scope"


@dataclass(frozen=True)
class Principal:
    """A caller. `name` is for people to read, `caller_id` for its rows; `sees_all` if it may see what is not its own."""

    kind: Kind
    name: str
    scopes: frozenset[str]
    caller_id: str = ""
    sees_all: bool = False

    def require(self, *scopes: str) -> None:
        """Raise `MissingScope` unless all of `scopes` are there."""
        if missing := sorted(set(scopes) - self.scopes):
            raise MissingScope(f"This needs the scope {', '.join(missing)}.")


def of_session(user: User) -> Principal:
    """The principal behind a signed-in user."""
    return Principal("session", user.get_username(), scopes_of(user), user_id(user), user.is_staff)


def user_id(user: User) -> str:
    """The `caller_id` of a user, by token or by session."""
    return f"user:{user.pk}"
