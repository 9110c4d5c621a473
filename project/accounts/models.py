"""People."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """Somebody who signs in. Django's own user; a model of ours so that it can grow."""
