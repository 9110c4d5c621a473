"""Startup checks of the database schema: are all migrations applied, and can this version use the database at all?"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

PRE_RELEASE_TABLE = "outbox_email"  # before the first release, emails were in the Django app "outbox"


class IncompatibleDatabase(Exception):
    """The database was created by a version of Mailrail that cannot be upgraded."""

    def __init__(self) -> None:
        super().__init__(
            "This database was created by a pre-release version of Mailrail and cannot be upgraded:"
            " set DATA_DIR to a new directory, or DATABASE_URL to a new database."
        )


@contextmanager
def startup_connection() -> Iterator[None]:
    """Close the connection that the schema checks inside this context have opened.

    An unavailable database does not prevent startup, because it may become available later. `/api/health/ready` reports it.
    """
    try:
        yield
    except OperationalError:
        pass
    finally:
        connection.close()


def refuse_incompatible_database() -> None:
    """Raise `IncompatibleDatabase` if the database was created by a pre-release version. Runs one query."""
    if PRE_RELEASE_TABLE in connection.introspection.table_names():
        raise IncompatibleDatabase


def has_pending_migrations() -> bool:
    """Return whether migrations of this version have not been applied yet."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
