"""Import and export of the suppression list as CSV."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from project.bridge.database.transactions import call_in_transaction
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.models import Suppression
from project.suppressions.store import NewSuppression, suppress_all

COLUMNS = ("address", "reason", "created_at")  # of a CSV file; the last is told and not taken
LINES_PER_TRANSACTION = 1_000  # of a file, in one transaction: written in about 20 ms
# What makes a spreadsheet calculate, once more quoted or not; some begin a cell after each of these, too.
_FORMULA = r"""(?:^|(?<=[;|\t])){}(?=['"\s]*[=+\-@\t\r\n＝＋－＠])"""
_UNESCAPED_FORMULA, _FORMULA_ESCAPE = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'"))


@dataclass(frozen=True)
class InvalidLine:
    """A line of a file that could not be taken, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What came of a file: how many of its lines were taken, and which were not."""

    taken: int
    bad: tuple[InvalidLine, ...]


def import_csv(file: Iterable[bytes], *, now: datetime) -> ImportResult:
    """Put a file's addresses on the list: UTF-8, a line each, `address,reason`, with or without a header.

    All good lines are taken whatever the others are, since each line alone says that somebody wants no mail. The file is its
    lines: an open file or an upload. It may be long, and others must get their turn to write meanwhile: some lines are read,
    then written in a transaction of their own, then the next.
    """
    taken, bad = 0, list[InvalidLine]()
    lines = _parse_lines(file)
    while some := list(islice(lines, LINES_PER_TRANSACTION)):
        entries = [line for line in some if isinstance(line, NewSuppression)]
        bad += [line for line in some if isinstance(line, InvalidLine)]
        call_in_transaction(suppress_all, entries, now=now)
        taken += len(entries)
    return ImportResult(taken, tuple(bad))


def export_csv() -> Iterator[str]:
    """The whole list as CSV, line by line, a header first. It can be imported; no cell of it is a formula to a spreadsheet."""
    writer = csv.writer(_Line())
    yield str(writer.writerow(COLUMNS))
    for address, reason, created_at in Suppression.objects.order_by("address").values_list(*COLUMNS).iterator():
        # Each on one line, so that a quote which is never closed spoils no more than its own.
        yield str(
            writer.writerow([_escape_formula(address), _escape_formula(" ".join(reason.splitlines())), created_at.isoformat()])
        )


class _Line:
    """A file that gives each line back."""

    def write(self, line: str) -> str:
        return line


def _parse_lines(file: Iterable[bytes]) -> Iterator[NewSuppression | InvalidLine]:
    for number, octets in enumerate(file, start=1):
        line = octets.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
        if not line.strip() or (number == 1 and _is_header(line)):
            continue
        try:
            yield _parse_line(line)
        except (ValueError, csv.Error) as error:
            yield InvalidLine(number, str(error))


def _is_header(line: str) -> bool:
    return line.partition(",")[0].strip('" \r\n').lower() in {"address", "email"}


def _parse_line(line: str) -> NewSuppression:
    """Raises ValueError or csv.Error, which say why, for a line that has no address."""
    address, reason = (_unescape_formula(cell) for cell in [*next(csv.reader([line])), ""][:2])
    if "\x00" in reason:
        raise ValueError("the reason holds a NUL character")
    return NewSuppression(normalize_address(address.strip()), reason.strip())


def _escape_formula(cell: str) -> str:
    return _UNESCAPED_FORMULA.sub("'", cell)


def _unescape_formula(cell: str) -> str:
    return _FORMULA_ESCAPE.sub("", cell)
