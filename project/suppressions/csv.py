"""Import and export of the suppression list as CSV."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.dispatch import Signal

from project.bridge.database.transactions import call_in_transaction
from project.config.displayed_text import remove_misleading_characters
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.models import Suppression
from project.suppressions.store import NewSuppression, suppress_all

COLUMNS = ("address", "reason", "created_at")  # of an export; an import ignores `created_at`
suppressions_imported = Signal()  # sent with `count`, once for each import
HEADER_NAMES = {"address", "email", "e-mail", "email address", "e-mail address", "email_address"}
LINES_PER_TRANSACTION = 1_000  # of an import; a transaction takes about 20 ms
# CSV injection: a spreadsheet runs a cell as a formula if it starts with one of these characters, even after quotes or spaces.
# Some spreadsheets also start a new cell after ; | or a tab.
_FORMULA = r"""(?:^|(?<=[;|\t])){}(?=['"\s]*[=+\-@\t\r\n＝＋－＠])"""
_UNESCAPED_FORMULA, _FORMULA_ESCAPE = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'"))


@dataclass(frozen=True)
class InvalidLine:
    """A line that could not be imported, and the reason."""

    number: int
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """The number of imported lines, and the lines that were skipped."""

    imported: int
    invalid: tuple[InvalidLine, ...]


def import_csv(file: Iterable[bytes], *, now: datetime) -> ImportResult:
    """Add the email addresses of a CSV file to the suppression list.

    The file is UTF-8 (or else Windows-1252), and has one `address,reason` per line, with or without a header. The delimiter may
    also be a semicolon or a tab.

    `file` yields lines, like an open file or an upload. Invalid lines are skipped and reported; they do not stop the import.
    Lines are parsed outside of transactions and written in batches, so a long file does not block other writers.
    """
    imported, invalid = 0, list[InvalidLine]()
    lines = _parse_lines(file)
    try:
        while batch := list(islice(lines, LINES_PER_TRANSACTION)):
            entries = [line for line in batch if isinstance(line, NewSuppression)]
            invalid += [line for line in batch if isinstance(line, InvalidLine)]
            call_in_transaction(suppress_all, entries, now=now)
            imported += len(entries)
    finally:  # also if a later batch fails: the earlier batches are committed
        if imported:
            suppressions_imported.send(sender=ImportResult, count=imported)
    return ImportResult(imported, tuple(invalid))


def export_csv() -> Iterator[str]:
    """Yield the whole list as CSV lines, with a header. Cells are escaped against CSV injection; an import unescapes them."""
    writer = csv.writer(_Line())
    yield str(writer.writerow(COLUMNS))
    for address, reason, created_at in Suppression.objects.order_by("address").values_list(*COLUMNS).iterator():
        # Each row is one line, because the import parses line by line. So an unclosed quote damages only its own row.
        yield str(
            writer.writerow([_escape_formula(address), _escape_formula(" ".join(reason.splitlines())), created_at.isoformat()])
        )


class _Line:
    """A file-like object whose `write` returns the line, so that `csv.writer` returns it too."""

    def write(self, line: str) -> str:
        return line


def _parse_lines(file: Iterable[bytes]) -> Iterator[NewSuppression | InvalidLine]:
    for number, octets in enumerate(file, start=1):
        if number == 1 and octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield InvalidLine(number, "The file is encoded in UTF-16. Save it as UTF-8.")
            return
        line = _decode(octets).removeprefix("\ufeff" if number == 1 else "")
        if not line.strip() or (number <= 2 and _is_header(line)):
            continue
        try:
            yield _parse_line(line)
        except (ValueError, csv.Error) as error:
            yield InvalidLine(number, str(error))


def _decode(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")  # Excel's "CSV" without "UTF-8" in western languages


def _is_header(line: str) -> bool:
    first_cell = re.split("[,;\t]", line)[0].strip("\"' \r\n").lower()
    return first_cell in HEADER_NAMES or first_cell.startswith("sep=")  # Excel writes sep=; into the first line, before the names


def _delimiter(line: str) -> str:
    """Return the delimiter after the first cell. Spreadsheets write a semicolon where the comma is the decimal sign."""
    match = re.search("[,;\t]", re.sub(r'^\s*"(?:[^"]|"")*"', "", line))
    return match[0] if match else ","


def _parse_line(line: str) -> NewSuppression:
    """Parse a line. Raises `ValueError` or `csv.Error` with the reason if it has no valid address."""
    address, reason = (_unescape_formula(cell) for cell in [*next(csv.reader([line], delimiter=_delimiter(line))), ""][:2])
    if "\x00" in reason:
        raise ValueError("The reason contains a NUL character.")
    # An address must not be lost because of its reason, so misleading characters are removed. Tabs stay.
    parts = map(remove_misleading_characters, reason.strip().split("\t"))
    return NewSuppression(normalize_address(address.strip()), "\t".join(parts))


def _escape_formula(cell: str) -> str:
    return _UNESCAPED_FORMULA.sub("'", cell)


def _unescape_formula(cell: str) -> str:
    return _FORMULA_ESCAPE.sub("", cell)
