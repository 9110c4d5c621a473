"""`python manage.py erase ADDRESS`: erases one person who received emails."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.retention.erasure import Erasure, erase, find, normalized


class Command(BaseCommand):
    """Erases a recipient's address."""

    help = (
        "Erase a person who received emails: delete the emails to this address alone, and replace the address in emails that"
        " others received too. The suppression list keeps the address, so that the person gets no further email."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("address")
        parser.add_argument("--yes", action="store_true", help="Do not ask for confirmation.")
        parser.add_argument("--suppression", action="store_true", help="Also remove the address from the suppression list.")

    def handle(self, *args: Any, address: str, yes: bool, suppression: bool, **options: Any) -> None:
        """Show what was found, ask for confirmation, erase, and print the result."""
        try:
            address = normalized(address)
        except ValueError as error:
            raise CommandError(f"{address!r} is not an email address: {error}") from None
        self.stdout.write(f"Found: {find(address).description}.")
        if not yes and input("Erase this permanently? [y/N] ").strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was erased.")
        done = erase(address, with_suppression=suppression, on_batch=self._show_progress)
        self.stdout.write(f"Erased: {done.description}.")
        if done.unfinished:
            raise CommandError(f"{done.unfinished} emails are not finished yet. Repeat this command when they are.")

    def _show_progress(self, done: Erasure) -> None:
        if self.stdout.isatty():
            self.stdout.write(f"{done.deleted + done.anonymized:,} emails erased", ending="\r")
