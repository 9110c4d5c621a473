"""The first administrator, so that a new installation can be signed in to."""

import secrets

from project.accounts.models import User


def create_first_admin(*, username: str, password: str | None) -> str | None:
    """Make an administrator if there is none. Gives the password, if it had to be made up."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    made_up = None if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, password=password or made_up)
    return made_up
