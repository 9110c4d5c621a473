"""`python manage.py create_api_key NAME --scope emails:send [--scope …]`: prints the key, and nothing else."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.accounts.keys import create_key
from project.accounts.scopes import SCOPES, InvalidScope


class Command(BaseCommand):
    """Makes an API key."""

    help = "Create an API key, and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Its name, and what it may do."""
        parser.add_argument("name", help="for people, to tell keys apart")
        parser.add_argument("--scope", action="append", required=True, help=f"any of {', '.join(SCOPES)}; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        try:
            self.stdout.write(create_key(options["name"], scopes=options["scope"]))
        except InvalidScope as error:
            raise CommandError(error.detail) from None
