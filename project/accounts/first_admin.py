"""Creates the first administrator of a new installation."""

import secrets

from django.contrib.auth.password_validation import validate_password

from project.accounts.models import User


def create_first_admin(*, username: str, password: str | None, validate: bool = False) -> str | None:
    """Create a superuser if there is none. Return the password if it was generated, and None otherwise.

    Raises Django's `ValidationError` for a weak password if `validate` is True.
    """
    if User.objects.filter(is_superuser=True).exists():
        return None
    if password and validate:
        validate_password(password, User(username=username))
    generated = None if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, password=password or generated)
    return generated
