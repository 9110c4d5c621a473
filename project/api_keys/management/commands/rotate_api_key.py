"""`python manage.py rotate_api_key PUBLIC [--overlap 24h]`: gives a key another secret, and prints the key and nothing else."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from project.api_keys.keys import KeyNotActive, rotate_key
from project.bridge.database.transactions import call_in_transaction
from project.config.durations import parse_duration


class Command(BaseCommand):
    """Rotates an API key."""

    help = "Give an API key another secret, and print the key. It cannot be shown again. The old secret is good for a while."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which, and for how long the old secret stays good."""
        parser.add_argument("prefix", help="the key's first 11 characters, as the admin shows them")
        parser.add_argument("--overlap", metavar="TIME", default="24h", help="such as 24h, which it is if not given; 0s: at once")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate it."""
        try:
            overlap = parse_duration(options["overlap"])
            key = call_in_transaction(rotate_key, options["prefix"], overlap=overlap, now=timezone.now())
        except (KeyNotActive, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(key)
