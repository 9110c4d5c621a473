"""`python manage.py mark_sent FILE`: after a restored backup, keeps emails from being sent again."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from project.delivery.mark_sent import Marked, mark_sent, sent_email_ids

MAX_LINE_LENGTH = 64 * 1024  # characters that are read at once; a longer line is read in parts, which contain no id


class Command(BaseCommand):
    """Marks emails as sent."""

    help = (
        "Mark emails as sent that a restored backup still has in its queue. Run it before delivery starts. FILE is a log with"
        " LOG_FORMAT=json, or has an id or a Message-ID of a sent email on each line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the argument."""
        parser.add_argument("file", metavar="FILE", help="a file, or - for the standard input")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        """Mark the emails, and print their number."""
        with _open(file) as lines:
            marked = mark_sent(sent_email_ids(_limited(lines)), now=timezone.now())
        self.stdout.write(_describe(marked))


def _open(file: str) -> AbstractContextManager[TextIO]:
    if file == "-":
        return nullcontext(sys.stdin)
    try:
        return Path(file).open(errors="replace")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None


def _limited(file: TextIO) -> Iterator[str]:
    return iter(partial(file.readline, MAX_LINE_LENGTH), "")


def _describe(marked: Marked) -> str:
    return (
        f"{marked.sent} emails marked as sent. {marked.final} emails had a final status already,"
        f" and {marked.unknown} are not in this database."
    )
