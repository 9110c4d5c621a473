"""Migrations of a database that the previous version has filled."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from tests.processes import ROOT

BEFORE_OWNERS_OF_SEARCH_ROWS = "0007"


def migrate(data: Path, *target: str) -> None:
    """Migrate the database in the data directory."""
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data)}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0", *target], cwd=ROOT, env=env, check=True)


def test_emails_of_the_previous_version_have_normal_priority(tmp_path: Path) -> None:
    migrate(tmp_path, "emails", "0012")
    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database, database:
        insert(database, "emails_email", id=uuid4().hex)
        columns = ", ".join(f'"{name}"' for _, name, *_ in database.execute("PRAGMA table_info(emails_email)") if name != "id")

    migrate(tmp_path, "emails")

    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database, database:
        database.execute(  # a process of the previous version, which knows no priority
            f"INSERT INTO emails_email (id, {columns}) SELECT '{uuid4().hex}', {columns} FROM emails_email"  # noqa: S608
        )
        priorities = database.execute("SELECT priority FROM emails_email").fetchall()
    assert priorities == [("normal",), ("normal",)]


def test_the_index_of_templates_is_replaced_without_a_copy_of_the_table(tmp_path: Path) -> None:
    migrate(tmp_path, "emails", "0016")
    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database:
        table, (old,) = place_of_emails(database), template_indexes(database)

    migrate(tmp_path, "emails", "0017")

    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database:
        assert template_indexes(database) == ["email_template"]
        assert place_of_emails(database) == table
    assert old != "email_template"


def place_of_emails(database: sqlite3.Connection) -> int:
    """Return the page where the table begins. A copy of the table would begin elsewhere."""
    [(page,)] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'emails_email'")
    return int(page)


def template_indexes(database: sqlite3.Connection) -> list[str]:
    """Return the names of the indexes of the template alone."""
    indexes = database.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'emails_email'").fetchall()
    columns = {name: [column for *_, column in database.execute(f"PRAGMA index_info({name})")] for (name,) in indexes}
    return [name for name, names in columns.items() if names == ["template_id"]]


def insert(database: sqlite3.Connection, table: str, **values: object) -> None:
    """Insert a row. Other columns that need a value get an empty list, which is valid as a text and as JSON."""
    columns = database.execute(f"PRAGMA table_info({table})").fetchall()
    row = {name: 0 if "int" in kind else "[]" for _, name, kind, not_null, *_ in columns if not_null} | values
    places = ", ".join("?" * len(row))
    names = ", ".join(f'"{name}"' for name in row)
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(row.values()))  # noqa: S608


def test_search_rows_get_the_owner_of_their_email_and_lowercase_addresses(tmp_path: Path) -> None:
    first, second = uuid4().hex, uuid4().hex
    migrate(tmp_path, "emails", BEFORE_OWNERS_OF_SEARCH_ROWS)
    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database, database:
        for email_id, owner, addresses in (
            (first, "key:1", ("Ada@x.example", "ada@x.example")),
            (second, "", ("ADA@x.example",)),
        ):
            insert(database, "emails_email", id=email_id, owner=owner, recipients="[]")
            insert(database, "emails_tag", key="Order", value="A", email_id=email_id)
            for address in addresses:
                insert(database, "emails_recipient", address=address, email_id=email_id)

    migrate(tmp_path)

    with closing(sqlite3.connect(tmp_path / "mailrail.sqlite3")) as database:
        recipients = database.execute("SELECT email_id, address, owner FROM emails_recipient").fetchall()
        tags = database.execute("SELECT email_id, key, value, owner FROM emails_tag").fetchall()
    assert sorted(recipients) == sorted([(first, "ada@x.example", "key:1"), (second, "ada@x.example", "")])
    assert sorted(tags) == sorted([(first, "Order", "A", "key:1"), (second, "Order", "A", "")])
