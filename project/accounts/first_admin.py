"""The first administrator, so that a new installation can be signed in to."""

import secrets

from django.contrib.auth.password_validation import validate_password

from project.accounts.models import User


def create_first_admin(*, username: str, password: str | None, any_password: bool = True) -> str | None:
    """Make an administrator if there is none. Gives the password, if it had to be made up.

    Raises Django's `ValidationError` for one that is easy to guess, unless any will do.
    """
    if User.objects.filter(is_superuser=True).exists():
        return None
    if password and not any_password:
        validate_password(password, User(username=username))
    made_up = None if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, password=password or made_up)
    return made_up
