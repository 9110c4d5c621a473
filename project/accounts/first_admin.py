"""Creates the first administrator of a new installation."""

import secrets

from django.contrib.auth.password_validation import validate_password

from project.accounts.models import User


def create_first_admin(*, username: str, password: str | None, any_password: bool = True) -> str | None:
    """Create an administrator if there is none. Return the password if it was generated.

    Raises Django's `ValidationError` for a weak password, unless `any_password`.
    """
    if User.objects.filter(is_superuser=True).exists():
        return None
    if password and not any_password:
        validate_password(password, User(username=username))
    generated = None if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, password=password or generated)
    return generated
