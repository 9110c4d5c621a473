"""`python manage.py disable_two_factor USERNAME`: for a user who has lost their authenticator app and recovery codes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.accounts.models import User
from project.accounts.two_factor import disable_two_factor


class Command(BaseCommand):
    """Disables two-factor login for a user."""

    help = (
        "Disable two-factor login for a user who has lost their authenticator app and recovery codes. "
        "Logs the user out everywhere and revokes their access tokens."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete the user's device and recovery codes."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None or not disable_two_factor(user):
            raise CommandError(f"User {options['username']!r} does not exist or does not use two-factor login.")
