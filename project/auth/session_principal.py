"""The principal behind a Django session."""

from dataclasses import replace
from datetime import datetime

from project.accounts.models import User
from project.accounts.two_factor import SET_UP_TWO_FACTOR, must_set_up_two_factor
from project.auth.principal import NotAuthenticated, Principal, principal_for_user
from project.auth.scopes import scopes_for_user


def authenticate_session_user(user: User, *, expires_at: datetime | None = None) -> Principal:
    """Return the principal of a logged-in user, whose session ends at `expires_at`.

    Raises `NotAuthenticated` if the user must set up two-factor login first.
    """
    if must_set_up_two_factor(user):
        raise NotAuthenticated(SET_UP_TWO_FACTOR)
    return replace(session_principal(user), expires_at=expires_at)


def session_principal(user: User) -> Principal:
    """Return the principal of a logged-in user, with all of the user's scopes."""
    return principal_for_user("session", user, scopes=scopes_for_user(user))
