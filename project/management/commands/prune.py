"""`python manage.py prune`: deletes data past its retention period now. Servers and Celery beat do the same once an hour."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from project.bridge.database.read_transactions import run_in_read_transaction
from project.retention.expired_data import KINDS, ExpiredData
from project.retention.pruner import delete_expired


class Command(BaseCommand):
    """Deletes expired data, or counts it with `--dry-run`."""

    help = "Delete data past its retention period: KEEP_BODIES, KEEP_EMAILS, KEEP_MAILBOX and others."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the option `--dry-run`."""
        parser.add_argument("--dry-run", action="store_true", help="Only print how much would be deleted.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        """Print one line for each kind of data. A terminal also shows the progress."""
        asyncio.run(self._count() if dry_run else self._delete())

    async def _count(self) -> None:
        for kind in KINDS:
            expired = await run_in_read_transaction(kind.count, now=timezone.now())
            self.stdout.write(f"{kind.label}: {expired:,} would be deleted")

    async def _delete(self) -> None:
        for kind in KINDS:
            deleted = 0
            async for number in delete_expired(kind):
                deleted += number
                if self.stdout.isatty():
                    self.stdout.write(_line(kind, deleted), ending="\r")
            self.stdout.write(_line(kind, deleted))


def _line(kind: ExpiredData, deleted: int) -> str:
    return f"{kind.label}: {deleted:,} deleted"
