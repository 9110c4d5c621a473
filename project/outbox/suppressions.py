"""The suppression list: addresses that get no mail from us, one by one, many at once, and as CSV.

It is kept and asked in lower case, local part and all. A relay may tell `Ada@example.com` from `ada@example.com` (RFC 5321
section 2.4); no known one does, and a list that misses one of the two is useless.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from project.bridge import database
from project.errors import Refusal
from project.outbox.addresses import normal_address
from project.outbox.models import Suppression

REASON_LENGTH = 500  # characters
COLUMNS = ("address", "reason", "created_at")  # of a CSV file; the last is told and not taken
LINES_AT_ONCE = 1_000  # of a file, in one transaction: written in about 20 ms

_AT_ONCE = 30_000  # addresses in one query; SQLite takes 32,766 variables
# What makes a spreadsheet calculate, once more quoted or not; some begin a cell after each of these, too.
_FORMULA = r"""(?:^|(?<=[;|\t])){}(?=['"\s]*[=+\-@\t\r\n＝＋－＠])"""
_UNGUARDED, _GUARD = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'"))


class SuppressionNotFound(Refusal):
    """The address is not on the list."""

    code = "suppression_not_found"


@dataclass(frozen=True)
class Entry:
    """An address that is to be on the list, in its normal form, why, and the mail that showed it."""

    address: str
    reason: str = ""
    email_id: UUID | None = None


@dataclass(frozen=True)
class BadLine:
    """A line of a file that could not be taken, and why."""

    number: int
    why: str


@dataclass(frozen=True)
class Imported:
    """What came of a file: how many of its lines were taken, and which were not."""

    taken: int
    bad: tuple[BadLine, ...]


def suppress(address: str, *, reason: str = "", email_id: UUID | None = None, now: datetime) -> Suppression:
    """Put an address on the list, or change why it is there. Raises ValueError, which says why, for what is no address."""
    entry = Entry(normal_address(address), reason, email_id)
    suppress_all([entry], now=now)
    return get(entry.address)


def suppress_all(entries: Iterable[Entry], *, now: datetime) -> None:
    """Put many on the list. Who is there stays since when it was, with the reason that came last."""
    rows = {entry.address.lower(): entry for entry in entries}  # an address may be only once in one statement
    Suppression.objects.bulk_create(
        [
            Suppression(address=address, reason=entry.reason[:REASON_LENGTH], email_id=entry.email_id, created_at=now)
            for address, entry in sorted(rows.items())  # in order, so that no two wait for each other
        ],
        update_conflicts=True,
        unique_fields=["address"],
        update_fields=["reason", "email"],
    )


def lift(address: str) -> None:
    """Take an address off the list. Raises `SuppressionNotFound`."""
    deleted, _ = Suppression.objects.filter(address=address.lower()).delete()
    if not deleted:
        raise _not_found(address)


def get(address: str) -> Suppression:
    """One of the list. Raises `SuppressionNotFound`."""
    suppression = Suppression.objects.filter(address=address.lower()).first()
    if suppression is None:
        raise _not_found(address)
    return suppression


def list_suppressions(*, after: str | None = None, limit: int = 20) -> list[Suppression]:
    """Those after an address, in order: one more than `limit`, if there are more."""
    suppressions = Suppression.objects.order_by("address")
    if after is not None:
        suppressions = suppressions.filter(address__gt=after.lower())
    return list(suppressions[: limit + 1])


def suppressed_among(addresses: Iterable[str]) -> set[str]:
    """Those of the addresses, as they were given, that are on the list in any case."""
    asked = list(addresses)
    keys = sorted({address.lower() for address in asked})
    found: set[str] = set()
    for start in range(0, len(keys), _AT_ONCE):
        some = Suppression.objects.filter(address__in=keys[start : start + _AT_ONCE])
        found.update(some.values_list("address", flat=True))
    return {address for address in asked if address.lower() in found}


# CSV


def import_csv(file: Iterable[bytes], *, now: datetime) -> Imported:
    """Put a file's addresses on the list: UTF-8, a line each, `address,reason`, with or without a header.

    All good lines are taken whatever the others are, since each line alone says that somebody wants no mail. The file is its
    lines: an open file or an upload. It may be long, and others must get their turn to write meanwhile: some lines are read,
    then written in a transaction of their own, then the next.
    """
    taken, bad = 0, list[BadLine]()
    lines = _read(file)
    while some := list(islice(lines, LINES_AT_ONCE)):
        entries = [line for line in some if isinstance(line, Entry)]
        bad += [line for line in some if isinstance(line, BadLine)]
        database.call(suppress_all, entries, now=now)
        taken += len(entries)
    return Imported(taken, tuple(bad))


def export_csv() -> Iterator[str]:
    """The whole list as CSV, line by line, a header first. It can be imported; no cell of it is a formula to a spreadsheet."""
    writer = csv.writer(_Line())
    yield str(writer.writerow(COLUMNS))
    for address, reason, created_at in Suppression.objects.order_by("address").values_list(*COLUMNS).iterator():
        # Each on one line, so that a quote which is never closed spoils no more than its own.
        yield str(writer.writerow([_guarded(address), _guarded(" ".join(reason.splitlines())), created_at.isoformat()]))


class _Line:
    """A file that gives each line back."""

    def write(self, line: str) -> str:
        return line


def _read(file: Iterable[bytes]) -> Iterator[Entry | BadLine]:
    for number, octets in enumerate(file, start=1):
        line = octets.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
        if not line.strip() or (number == 1 and _is_header(line)):
            continue
        try:
            yield _entry(line)
        except (ValueError, csv.Error) as error:
            yield BadLine(number, str(error))


def _is_header(line: str) -> bool:
    return line.partition(",")[0].strip('" \r\n').lower() in {"address", "email"}


def _entry(line: str) -> Entry:
    """Raises ValueError or csv.Error, which say why, for a line that has no address."""
    address, reason = (_unguarded(cell) for cell in [*next(csv.reader([line])), ""][:2])
    if "\x00" in reason:
        raise ValueError("the reason holds a NUL character")
    return Entry(normal_address(address.strip()), reason.strip())


def _guarded(cell: str) -> str:
    return _UNGUARDED.sub("'", cell)


def _unguarded(cell: str) -> str:
    return _GUARD.sub("", cell)


def _not_found(address: str) -> SuppressionNotFound:
    return SuppressionNotFound(f"{address} is not on the suppression list.")
