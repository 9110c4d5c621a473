"""The suppression list: what is on it, what it matches, and the files it comes from and goes to."""

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
from tests.project.conftest import Accept

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

pytestmark = pytest.mark.django_db


def listed() -> dict[str, str]:
    """Who is on the list, and why."""
    return dict(Suppression.objects.values_list("address", "reason"))


def exported() -> bytes:
    """The list as a file."""
    return "".join(export_csv()).encode()


# One address


def test_suppresses_an_address(accept: Accept) -> None:
    email = accept()

    suppression = suppress("ada@example.com", reason="550 No such user", email_id=email.id, now=NOW)

    assert (suppression.address, suppression.reason) == ("ada@example.com", "550 No such user")
    assert (suppression.created_at, suppression.email) == (NOW, email)


def test_another_reason_replaces_the_first_and_not_its_time() -> None:
    suppress("ada@example.com", reason="complained", now=NOW)

    suppress("ADA@example.com", reason="left", now=LATER)

    assert listed() == {"ada@example.com": "left"}
    assert get_suppression("ada@example.com").created_at == NOW


def test_keeps_an_address_in_its_normal_form() -> None:
    suppression = suppress("Ada+News@BÜCHER.example", reason="", now=NOW)

    assert suppression.address == "ada+news@xn--bcher-kva.example"


def test_refuses_what_is_no_address() -> None:
    with pytest.raises(ValueError, match="@-sign"):
        suppress("nobody", reason="", now=NOW)

    assert listed() == {}


def test_lifts_a_suppression_in_any_case() -> None:
    suppress_all([NewSuppression("ada@example.com"), NewSuppression("bob@example.com")], now=NOW)

    remove("Ada@Example.com")

    assert listed() == {"bob@example.com": ""}


@pytest.mark.parametrize("find", [remove, get_suppression])
def test_an_address_that_is_not_listed_is_not_found(find: object) -> None:
    assert callable(find)

    with pytest.raises(SuppressionNotFound, match="is not on the suppression list"):
        find("bob@example.com")


def test_outlives_the_mail_that_showed_it(accept: Accept) -> None:
    email = accept()
    suppress("ada@example.com", reason="550", email_id=email.id, now=NOW)

    Email.objects.all().delete()

    assert get_suppression("ada@example.com").email is None


# Many


def test_lists_by_address_one_more_than_asked_for() -> None:
    suppress_all([NewSuppression(f"{name}@example.com") for name in "dbca"], now=NOW)

    page = list_suppressions(limit=2)
    rest = list_suppressions(after=page[1].address, limit=2)

    assert [each.address[0] for each in page] == ["a", "b", "c"]
    assert [each.address[0] for each in rest] == ["c", "d"]


def test_of_one_address_twice_the_last_counts() -> None:
    suppress_all([NewSuppression("ada@example.com", "first"), NewSuppression("Ada@example.com", "x" * 600)], now=NOW)

    assert listed() == {"ada@example.com": "x" * MAX_REASON_LENGTH}


def test_finds_the_suppressed_as_they_were_given() -> None:
    suppress("Ada@Example.com", reason="", now=NOW)
    asked = ["ADA@example.com", "ada@EXAMPLE.COM", "adam@example.com", "ada@example.community"]

    assert find_suppressed(iter(asked)) == set(asked[:2])


def test_looks_thousands_of_addresses_up_in_one_query() -> None:
    suppress_all([NewSuppression(f"user{number}@example.com") for number in range(0, 5_000, 2)], now=NOW)

    with CaptureQueriesContext(connection) as queries:
        found = find_suppressed(f"User{number}@example.com" for number in range(10_000))

    assert len(queries) == 1
    assert found == {f"User{number}@example.com" for number in range(0, 5_000, 2)}


@pytest.fixture
def _standard_limit(db: None) -> Iterator[None]:
    """What SQLite takes in one statement, unless who built it allowed more, as Debian does."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    kind = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
    limit = connection.connection.setlimit(kind, 32_766)
    yield
    connection.connection.setlimit(kind, limit)


@pytest.mark.usefixtures("_standard_limit")
def test_looks_up_more_addresses_than_a_statement_takes() -> None:
    suppress("user39999@example.com", reason="", now=NOW)

    assert find_suppressed(f"user{number}@example.com" for number in range(40_000)) == {"user39999@example.com"}


def test_nobody_is_looked_up_with_no_query() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert find_suppressed([]) == set()

    assert len(queries) == 0


# Files


@pytest.mark.parametrize(
    "file",
    [
        b"address,reason\r\nada@example.com,left\r\nbob@example.com,\r\n",
        b"ada@example.com,left\nbob@example.com",
        b"\xef\xbb\xbfEmail,Reason\nAda@Example.com, left \n\n bob@example.com \n",
        b'"address","reason","created_at"\n"ada@example.com","left","2026"\n"bob@example.com"\n',
    ],
)
def test_imports_a_file(file: bytes) -> None:
    result = import_csv(BytesIO(file), now=NOW)

    assert result == ImportResult(2, ())
    assert listed() == {"ada@example.com": "left", "bob@example.com": ""}


def test_bad_lines_are_told_and_lose_nothing_else() -> None:
    good = b"address\nada@example.com\n%s\ncarl@example.com,\xff"
    file = good % b'nobody\n,why\n"bob@example.com\nb\xfccher@example.com\neve@example.com,a\0b'

    result = import_csv(BytesIO(file), now=NOW)

    assert listed() == {"ada@example.com": "", "bob@example.com": "", "carl@example.com": "\ufffd"}
    assert result.taken == 3
    assert [line.number for line in result.bad] == [3, 4, 6, 7]
    assert "@-sign" in result.bad[0].reason
    assert result.bad[3] == InvalidLine(7, "the reason holds a NUL character")


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_long_file_is_imported_piece_by_piece(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("project.suppressions.csv.LINES_PER_TRANSACTION", at_once)
    file = b"address\nada@example.com,first\nnobody\nbob@example.com\nADA@example.com,last\n"

    result = import_csv(BytesIO(file), now=NOW)

    assert (result.taken, [line.number for line in result.bad]) == (3, [3])
    assert listed() == {"ada@example.com": "last", "bob@example.com": ""}


@pytest.mark.parametrize("file", [b"", b"\n\n", b"address,reason\n", b"\x00\xff\r\r\xfe", b"a\rb,c\rd", b'"' * 200_000])
def test_a_file_with_no_address_imports_nothing(file: bytes) -> None:
    result = import_csv(BytesIO(file), now=NOW)

    assert result.taken == 0
    assert listed() == {}


def test_what_was_exported_is_imported_as_it_was() -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''+1", " =1", "＝1", "it's", "'quoted'", 'a "b", c; d']
    formulas += ["x;=1+1;y", "x;'=1;''+2|\t=3", "a\t\t=1", ';"=1+1;', "|;\t-", "a;b|c\td"]
    entries = [NewSuppression(f"=user{number}@example.com", reason) for number, reason in enumerate(formulas)]
    suppress_all([*entries, NewSuppression("'+x@example.com", "Größe")], now=NOW)
    before, file = listed(), exported()
    Suppression.objects.all().delete()

    import_csv(BytesIO(file), now=LATER)

    assert listed() == {address: reason.strip() for address, reason in before.items()}


@pytest.mark.parametrize("reason", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\n=1", "＝1", "＠x"])
def test_no_exported_cell_is_a_formula(reason: str) -> None:
    suppress_all([NewSuppression("=1+1@example.com", reason)], now=NOW)

    _header, cells = csv.reader(exported().decode().splitlines())

    assert [cell for cell in cells if cell.lstrip()[0] in "=+-@\t\r\n＝＋－＠"] == []
    assert cells[0] == "'=1+1@example.com"


@pytest.mark.parametrize("reason", ["x;=1+1;y", "x\t=1+1\ty", "x|+1", "x; @SUM(A1)", ';"=1+1;', "\t;=1", ";;=1"])
@pytest.mark.parametrize("separator", ";\t|")
def test_no_cell_is_a_formula_wherever_it_is_split(reason: str, separator: str) -> None:
    suppress_all([NewSuppression("a|=1+1@example.com", reason)], now=NOW)

    _header, line = exported().decode().splitlines()

    assert [cell for cell in line.split(separator) if cell.lstrip(' "')[:1] in set("=+-@")] == []


def test_a_reason_of_many_lines_is_exported_on_one() -> None:
    suppress("ada@example.com", reason="550 No\r\nsuch\nuser", now=NOW)

    assert exported() == b"address,reason,created_at\r\nada@example.com,550 No such user,2026-12-01T09:00:00+00:00\r\n"


def test_exports_a_long_list_row_by_row() -> None:
    suppress_all([NewSuppression(f"{uuid7()}@example.com", "x" * MAX_REASON_LENGTH) for _ in range(20_000)], now=NOW)

    tracemalloc.start()
    rows = sum(1 for _ in export_csv())
    _size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows == 20_001
    assert peak < 5_000_000  # the list has twice as much
