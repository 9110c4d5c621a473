"""The databases of the installations that tests create: SQLite files, or databases of the cluster in TEST_DATABASE_URL.

An installation is known by its data directory. With PostgreSQL, the name of its database is derived from the path of that
directory, and the database is created as soon as a process needs it.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

CLUSTER_URL = os.environ.get("TEST_DATABASE_URL", "")
USES_POSTGRESQL = bool(CLUSTER_URL)


def environment_of(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process needs in addition to `env`, so that it uses the database of its data directory."""
    if not USES_POSTGRESQL or "DATA_DIR" not in env or "DATABASE_URL" in env:
        return {}
    data = Path(env["DATA_DIR"])
    _create(data)
    return {"DATABASE_URL": _url(data)}


def copy_installation(installation: Path, data: Path) -> Path:
    """Copy a data directory and its database, and return the new data directory."""
    shutil.copytree(installation, data)
    if USES_POSTGRESQL:
        _create(data, template=_name(installation))
    return data


def remove_database(data: Path) -> None:
    """Remove the database of a data directory, because hundreds of databases would need gigabytes."""
    if USES_POSTGRESQL:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with psycopg.connect(CLUSTER_URL, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(_name(data))))


def disconnect_all(name: str) -> None:
    """End all connections to a database of the cluster."""
    if USES_POSTGRESQL:
        with psycopg.connect(CLUSTER_URL, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def query(data: Path, statement: str) -> list[Any]:
    """Run a statement in the database of a data directory, and return the rows."""
    with _connection(data) as connection:
        return list(connection.execute(statement).fetchall())


def create_tables(data: Path, *statements: str) -> None:
    """Run statements in the database of a new data directory."""
    if USES_POSTGRESQL:
        _create(data)
    with _connection(data) as connection:
        for statement in statements:
            connection.execute(statement)


def table_names(data: Path) -> set[str]:
    """Return the names of all tables in the database of a data directory."""
    of_postgresql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    of_sqlite = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {name for (name,) in query(data, of_postgresql if USES_POSTGRESQL else of_sqlite)}


@contextmanager
def locked(data: Path, table: str) -> Iterator[None]:
    """Block the processes that write to a table, until the end of the `with` block."""
    with _connection(data) as connection:
        connection.execute("BEGIN" if USES_POSTGRESQL else "BEGIN IMMEDIATE")
        if USES_POSTGRESQL:
            connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _connection(data: Path) -> Iterator[Any]:
    if USES_POSTGRESQL:
        with psycopg.connect(_url(data), autocommit=True) as connection:
            yield connection
    else:
        with closing(sqlite3.connect(data / "mailrail.sqlite3", isolation_level=None)) as database:
            yield database


def _create(data: Path, template: str = "template1") -> None:
    with psycopg.connect(CLUSTER_URL, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_name(data)]).fetchone() is None:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(_name(data)), sql.Identifier(template)))


def _name(data: Path) -> str:
    return f"installation_{sha256(str(data.resolve()).encode()).hexdigest()[:16]}"


def _url(data: Path) -> str:
    return CLUSTER_URL.rpartition("/")[0] + f"/{_name(data)}"
