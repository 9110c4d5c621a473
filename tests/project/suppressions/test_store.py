"""The suppression list: add, remove and look up email addresses, and import and export them as CSV."""

import csv
import sqlite3
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from project.emails.models import Email
from project.suppressions.csv import ImportResult, InvalidLine, export_csv, import_csv
from project.suppressions.models import Suppression
from project.suppressions.store import (
    MAX_REASON_LENGTH,
    NewSuppression,
    SuppressionNotFound,
    find_suppressed,
    get_suppression,
    list_suppressions,
    remove,
    suppress,
    suppress_all,
)
from tests.project.conftest import SubmitEmail

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

pytestmark = pytest.mark.django_db


def reasons_by_address() -> dict[str, str]:
    """Return the reason of each suppressed address."""
    return dict(Suppression.objects.values_list("address", "reason"))


def export() -> bytes:
    """Return the suppression list as a CSV file."""
    return "".join(export_csv()).encode()


# One email address


def test_suppresses_an_address(submit_email: SubmitEmail) -> None:
    email = submit_email()

    suppression = suppress("ada@example.com", reason="550 No such user", email_id=email.id, now=NOW)

    assert (suppression.address, suppression.reason) == ("ada@example.com", "550 No such user")
    assert (suppression.created_at, suppression.email) == (NOW, email)


def test_a_new_reason_does_not_change_the_creation_time() -> None:
    suppress("ada@example.com", reason="complained", now=NOW)

    suppress("ADA@example.com", reason="left", now=LATER)

    assert reasons_by_address() == {"ada@example.com": "left"}
    assert get_suppression("ada@example.com").created_at == NOW


def test_normalizes_the_address() -> None:
    suppression = suppress("Ada+News@BÜCHER.example", reason="", now=NOW)

    assert suppression.address == "ada+news@xn--bcher-kva.example"


def test_rejects_an_invalid_address() -> None:
    with pytest.raises(ValueError, match="@-sign"):
        suppress("not-an-address", reason="", now=NOW)

    assert reasons_by_address() == {}


def test_removes_an_address_in_any_case() -> None:
    suppress_all([NewSuppression("ada@example.com"), NewSuppression("bob@example.com")], now=NOW)

    remove("Ada@Example.com")

    assert reasons_by_address() == {"bob@example.com": ""}


@pytest.mark.parametrize("find", [remove, get_suppression])
def test_an_address_that_is_not_listed_is_not_found(find: object) -> None:
    assert callable(find)

    with pytest.raises(SuppressionNotFound, match="is not on the suppression list"):
        find("bob@example.com")


def test_a_suppression_outlives_its_email(submit_email: SubmitEmail) -> None:
    email = submit_email()
    suppress("ada@example.com", reason="550", email_id=email.id, now=NOW)

    Email.objects.all().delete()

    assert get_suppression("ada@example.com").email is None


# Many email addresses


def test_lists_one_more_than_the_limit_in_order_of_address() -> None:
    suppress_all([NewSuppression(f"{name}@example.com") for name in "dbca"], now=NOW)

    page = list_suppressions(limit=2)
    rest = list_suppressions(after=page[1].address, limit=2)

    assert [suppression.address[0] for suppression in page] == ["a", "b", "c"]
    assert [suppression.address[0] for suppression in rest] == ["c", "d"]


def test_the_last_of_two_entries_for_an_address_wins() -> None:
    suppress_all([NewSuppression("ada@example.com", "first"), NewSuppression("Ada@example.com", "x" * 600)], now=NOW)

    assert reasons_by_address() == {"ada@example.com": "x" * MAX_REASON_LENGTH}


def test_finds_suppressed_addresses_in_any_case_and_keeps_their_spelling() -> None:
    suppress("Ada@Example.com", reason="", now=NOW)
    addresses = ["ADA@example.com", "ada@EXAMPLE.COM", "adam@example.com", "ada@example.community"]

    assert find_suppressed(iter(addresses)) == set(addresses[:2])


def test_looks_up_thousands_of_addresses_in_one_query() -> None:
    suppress_all([NewSuppression(f"user{number}@example.com") for number in range(0, 5_000, 2)], now=NOW)

    with CaptureQueriesContext(connection) as queries:
        found = find_suppressed(f"User{number}@example.com" for number in range(10_000))

    assert len(queries) == 1
    assert found == {f"User{number}@example.com" for number in range(0, 5_000, 2)}


@pytest.fixture
def _default_variable_limit(db: None) -> Iterator[None]:
    """Limit the variables of a statement to SQLite's default, because Debian's build of SQLite allows more."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    kind = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
    limit = connection.connection.setlimit(kind, 32_766)
    yield
    connection.connection.setlimit(kind, limit)


@pytest.mark.usefixtures("_default_variable_limit")
def test_looks_up_more_addresses_than_fit_into_one_statement() -> None:
    suppress("user39999@example.com", reason="", now=NOW)

    assert find_suppressed(f"user{number}@example.com" for number in range(40_000)) == {"user39999@example.com"}


def test_looking_up_no_addresses_makes_no_query() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert find_suppressed([]) == set()

    assert len(queries) == 0


# CSV files


@pytest.mark.parametrize(
    "file",
    [
        b"address,reason\r\nada@example.com,left\r\nbob@example.com,\r\n",
        b"ada@example.com,left\nbob@example.com",
        b"\xef\xbb\xbfEmail,Reason\nAda@Example.com, left \n\n bob@example.com \n",
        b'"address","reason","created_at"\n"ada@example.com","left","2026"\n"bob@example.com"\n',
        b"address;reason\r\nada@example.com;left\r\nbob@example.com;\r\n",
        b"\xef\xbb\xbfsep=;\r\nE-Mail;Reason\r\nada@example.com;left;2026\r\nbob@example.com\r\n",
        b"address\treason\nada@example.com\tleft\nbob@example.com\t\n",
        b'\xef\xbb\xbf"address";"reason"\n"ada@example.com";"left"\n"bob@example.com";""\n',
    ],
)
def test_imports_a_csv_file(file: bytes) -> None:
    result = import_csv(BytesIO(file), now=NOW)

    assert result == ImportResult(2, ())
    assert reasons_by_address() == {"ada@example.com": "left", "bob@example.com": ""}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ada@example.com;left, for good", "left, for good"),
        ("ada@example.com,left; for good", "left; for good"),
        ('"ada@example.com"\t"left, ""for"" good; really"', 'left, "for" good; really'),
        ('ada@example.com;"a\tb;c"', "a\tb;c"),
    ],
)
def test_the_first_delimiter_of_a_line_counts(line: str, reason: str) -> None:
    assert import_csv(BytesIO(line.encode()), now=NOW).invalid == ()
    assert reasons_by_address() == {"ada@example.com": reason}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_reports_a_file_in_utf_16(encoding: str) -> None:
    file = ("\ufeff" if encoding.endswith("be") else "").encode(encoding) + "ada@example.com\tleft\n".encode(encoding)

    result = import_csv(BytesIO(file), now=NOW)

    assert (result.imported, [line.reason for line in result.invalid]) == (
        0,
        ["The file is encoded in UTF-16. Save it as UTF-8."],
    )


def test_skips_and_reports_invalid_lines() -> None:
    template = b"address\nada@example.com\n%s\ncarl@example.com,\xff"
    file = template % b'not-an-address\n,reason\n"bob@example.com\nb\xfccher@example.com\neve@example.com,a\0b'

    result = import_csv(BytesIO(file), now=NOW)

    assert reasons_by_address() == {"ada@example.com": "", "bob@example.com": "", "carl@example.com": "ÿ"}
    assert result.imported == 3
    assert [line.number for line in result.invalid] == [3, 4, 6, 7]
    assert "@-sign" in result.invalid[0].reason
    assert result.invalid[3] == InvalidLine(7, "The reason contains a NUL character.")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_imports_a_long_file_in_batches(monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    monkeypatch.setattr("project.suppressions.csv.LINES_PER_TRANSACTION", batch_size)
    file = b"address\nada@example.com,first\nnot-an-address\nbob@example.com\nADA@example.com,last\n"

    result = import_csv(BytesIO(file), now=NOW)

    assert (result.imported, [line.number for line in result.invalid]) == (3, [3])
    assert reasons_by_address() == {"ada@example.com": "last", "bob@example.com": ""}


@pytest.mark.parametrize("file", [b"", b"\n\n", b"address,reason\n", b"\x00\xff\r\r\xfe", b"a\rb,c\rd", b'"' * 200_000])
def test_a_file_without_addresses_imports_no_entry(file: bytes) -> None:
    result = import_csv(BytesIO(file), now=NOW)

    assert result.imported == 0
    assert reasons_by_address() == {}


def test_an_import_restores_an_export() -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''+1", " =1", "＝1", "it's", "'quoted'", 'a "b", c; d']
    formulas += ["x;=1+1;y", "x;'=1;''+2|\t=3", "a\t\t=1", ';"=1+1;', "|;\t-", "a;b|c\td"]
    entries = [NewSuppression(f"=user{number}@example.com", reason) for number, reason in enumerate(formulas)]
    suppress_all([*entries, NewSuppression("'+x@example.com", "Größe")], now=NOW)
    before, file = reasons_by_address(), export()
    Suppression.objects.all().delete()

    import_csv(BytesIO(file), now=LATER)

    assert reasons_by_address() == {address: reason.strip() for address, reason in before.items()}


@pytest.mark.parametrize("reason", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\n=1", "＝1", "＠x"])
def test_escapes_formulas_in_exported_cells(reason: str) -> None:
    suppress_all([NewSuppression("=1+1@example.com", reason)], now=NOW)

    _header, cells = csv.reader(export().decode().splitlines())

    assert [cell for cell in cells if cell.lstrip()[0] in "=+-@\t\r\n＝＋－＠"] == []
    assert cells[0] == "'=1+1@example.com"


@pytest.mark.parametrize("reason", ["x;=1+1;y", "x\t=1+1\ty", "x|+1", "x; @SUM(A1)", ';"=1+1;', "\t;=1", ";;=1"])
@pytest.mark.parametrize("separator", ";\t|")
def test_escapes_formulas_after_every_separator_of_spreadsheets(reason: str, separator: str) -> None:
    suppress_all([NewSuppression("a|=1+1@example.com", reason)], now=NOW)

    _header, line = export().decode().splitlines()

    assert [cell for cell in line.split(separator) if cell.lstrip(' "')[:1] in set("=+-@")] == []


def test_exports_a_reason_of_many_lines_as_one_line() -> None:
    suppress("ada@example.com", reason="550 No\r\nsuch\nuser", now=NOW)

    assert export() == b"address,reason,created_at\r\nada@example.com,550 No such user,2026-12-01T09:00:00+00:00\r\n"


def test_export_does_not_load_the_whole_list_into_memory() -> None:
    suppress_all([NewSuppression(f"{uuid7()}@example.com", "x" * MAX_REASON_LENGTH) for _ in range(20_000)], now=NOW)

    tracemalloc.start()
    rows = sum(1 for _ in export_csv())
    _size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows == 20_001
    assert peak < 5_000_000  # the list has more than 10 MB of data


def test_an_import_removes_characters_that_could_look_like_other_text() -> None:
    result = import_csv(BytesIO("ada@example.com,\u202eleft\u2066\x07\tnow".encode()), now=NOW)

    assert (result.imported, reasons_by_address()) == (1, {"ada@example.com": "left\tnow"})


def test_an_import_reads_the_encoding_of_excel() -> None:
    import_csv(BytesIO("address;reason\r\nada@example.com;für immer\r\n".encode("cp1252")), now=NOW)

    assert reasons_by_address() == {"ada@example.com": "für immer"}
