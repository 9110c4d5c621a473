"""`python manage.py create_api_key NAME --scope emails:send [--scope …] [--sender …] [--expires 90d]`: prints only the key."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from project.accounts.models import User
from project.api_keys.keys import create_key, validate_expiry
from project.auth.scopes import SCOPES, InvalidScope
from project.config.durations import parse_duration


class Command(BaseCommand):
    """Creates an API key."""

    help = "Create an API key and print it. The key cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", help="a name to recognize the key by")
        parser.add_argument(
            "--scope", action="append", required=True, help=f"grant a scope; can be repeated. One of: {', '.join(SCOPES)}"
        )
        parser.add_argument(
            "--sender",
            action="append",
            default=[],
            help="allow a From address: an address, *@domain or *@*.domain; can be repeated (default: any address)",
        )
        parser.add_argument("--owner", metavar="USERNAME", help="stop the key when this user is deactivated (default: no owner)")
        parser.add_argument("--expires", metavar="DURATION", help="expire after this time, such as 90d (default: never)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the key."""
        try:
            expires_at = None if options["expires"] is None else _parse_expiry(options["expires"])
            owner = None if options["owner"] is None else _find_owner(options["owner"])
            key = create_key(
                options["name"],
                scopes=options["scope"],
                allowed_senders=options["sender"],
                expires_at=expires_at,
                owner=owner,
            )
        except (InvalidScope, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(key)


def _find_owner(username: str) -> User:
    owner = User.objects.filter(username=username, is_active=True).first()
    if owner is None:
        raise ValueError(f"There is no active user {username!r}.")
    return owner


def _parse_expiry(text: str) -> datetime:
    now = timezone.now()
    expires_at = now + parse_duration(text)
    validate_expiry(expires_at, now=now)
    return expires_at
