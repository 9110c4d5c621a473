"""`python manage.py rotate_api_key PREFIX [--overlap 24h]`: replaces a key's secret, and prints only the new key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from project.api_keys.keys import KeyNotActive, rotate_key
from project.bridge.database.transactions import call_in_transaction
from project.config.durations import parse_duration


class Command(BaseCommand):
    """Rotates an API key."""

    help = (
        "Replace the secret of an API key and print the new key. The key cannot be shown again. "
        "The old secret stays valid for the overlap."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("prefix", help="the first 11 characters of the key, as shown in the admin")
        parser.add_argument(
            "--overlap",
            metavar="DURATION",
            default="24h",
            help="keep the old secret valid for this time; 0s revokes it immediately (default: 24h)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate the key."""
        try:
            overlap = parse_duration(options["overlap"])
            key = call_in_transaction(rotate_key, options["prefix"], overlap=overlap, now=timezone.now())
        except (KeyNotActive, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(key)
