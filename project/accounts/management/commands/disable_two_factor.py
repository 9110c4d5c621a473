"""`python manage.py turn_off_two_factor USERNAME`: for who has lost the app."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.accounts.models import User
from project.accounts.two_factor import disable_two_factor


class Command(BaseCommand):
    """Lets somebody sign in with the password alone."""

    help = "Turn two-factor login off for a user who has lost the app. Ends their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose."""
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the device away."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None or not disable_two_factor(user):
            raise CommandError("There is no such user, or no two-factor login.")
