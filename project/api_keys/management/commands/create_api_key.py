"""`python manage.py create_api_key NAME --scope emails:send [--scope …] [--sender …] [--expires 90d]`: prints the key only."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from project.api_keys.keys import create_key, validate_expiry
from project.auth.scopes import SCOPES, InvalidScope
from project.config.durations import parse_duration


class Command(BaseCommand):
    """Makes an API key."""

    help = "Create an API key, and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Its name, what it may do, and until when."""
        parser.add_argument("name", help="for people, to tell keys apart")
        parser.add_argument("--scope", action="append", required=True, help=f"any of {', '.join(SCOPES)}; may be repeated")
        parser.add_argument(
            "--sender",
            action="append",
            default=[],
            help="whom its mails may be from: an address, *@domain or *@*.domain; may be repeated; anybody, if there is none",
        )
        parser.add_argument("--expires", metavar="TIME", help="when it ends, from now, such as 90d; never, if there is none")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        try:
            expires_at = None if options["expires"] is None else _end(options["expires"])
            key = create_key(options["name"], scopes=options["scope"], allowed_senders=options["sender"], expires_at=expires_at)
        except (InvalidScope, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(key)


def _end(text: str) -> datetime:
    now = timezone.now()
    end = now + parse_duration(text)
    validate_expiry(end, now=now)
    return end
