"""Startup checks of the database schema: are all migrations applied, and can this version use the database at all?"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from django.apps import apps
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

PRE_RELEASE_TABLE = "outbox_email"  # before the first release, emails were in the Django app "outbox"
SILENCE_SECONDS = 2.0  # an error that takes longer is a timeout: the shortest timeout of a connection


class UnusableDatabase(Exception):
    """The process does not start with this database. The message is for the operator."""


class IncompatibleDatabase(UnusableDatabase):
    """The database was created by a version of Mailrail that cannot be upgraded."""

    def __init__(self) -> None:
        super().__init__(
            "This database was created by a pre-release version of Mailrail and cannot be upgraded:"
            " set DATA_DIR to a new directory, or DATABASE_URL to a new database."
        )


class UnpreparedDatabase(UnusableDatabase):
    """The tables of the database do not exist, or are those of an older version."""

    def __init__(self) -> None:
        super().__init__("The database is not prepared for this version: run `manage.py prepare`, or use `serve --prepare`.")


class DatabaseDoesNotAnswer(UnusableDatabase):
    """The database server accepts connections or queries, but sends no answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The database at {_address()} does not answer: no answer within {seconds:.0f} s."
            " Check DATABASE_URL and the database server."
        )


def check_database_at_startup(warn: Callable[[str], object], *, must_connect: bool = False) -> None:
    """Refuse to start with a database that this version cannot use, or that does not answer.

    A database that rejects the connection does not prevent startup unless `must_connect`, because it may become available later.
    `/api/health/ready` reports it.
    """
    with startup_connection(warn, must_connect=must_connect):
        refuse_incompatible_database()
        if has_pending_migrations():
            raise UnpreparedDatabase


@contextmanager
def startup_connection(warn: Callable[[str], object], *, must_connect: bool = False) -> Iterator[None]:
    """Close the connection that the schema checks inside this context have opened, and warn if the database is unavailable.

    Also warns if the checks have to wait. Raises `DatabaseDoesNotAnswer`.
    """
    started = time.monotonic()
    waiting = threading.Timer(SILENCE_SECONDS, warn, [f"Waiting for the database at {_address()} …"])
    waiting.daemon = True
    waiting.start()
    try:
        yield
    except OperationalError as error:
        seconds = time.monotonic() - started
        if seconds > SILENCE_SECONDS:
            raise DatabaseDoesNotAnswer(seconds) from None
        if must_connect:
            raise
        warn(f"The database is unavailable: {error_reason(error)}.")
    finally:
        waiting.cancel()
        if not connection.in_atomic_block:  # of a test
            connection.close()


def _address() -> str:
    settings = connection.settings_dict
    return ":".join(str(settings[key]) for key in ("HOST", "PORT") if settings[key]) or str(settings["NAME"])


def error_reason(error: Exception) -> str:
    """Return the server's own message of a database error, in one line.

    psycopg puts parts of the URL before the message. If the URL is malformed, such a part may be the password.
    """
    return str(error).partition("\n")[0].rpartition(" failed: ")[2].strip()


def refuse_incompatible_database() -> None:
    """Raise `IncompatibleDatabase` if the database was created by a pre-release version. Runs one query."""
    if PRE_RELEASE_TABLE in connection.introspection.table_names():
        raise IncompatibleDatabase


def has_pending_migrations() -> bool:
    """Return whether migrations of this version have not been applied yet."""
    applied = MigrationRecorder(connection).applied_migrations()
    if all(migration in applied for migration in _migrations()):
        return False  # without importing a hundred modules
    executor = MigrationExecutor(connection)  # a squashed migration may be applied although its name is not
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _migrations() -> Iterator[tuple[str, str]]:
    """Yield the app and the name of each migration of the installed apps, which are those that Django's loader finds."""
    for app in apps.get_app_configs():
        module, _explicit = MigrationLoader.migrations_module(app.label)
        if module is not None and find_spec(module) is not None:
            for _finder, name, is_package in iter_modules(import_module(module).__path__):
                if not is_package and name[0] not in "_~":
                    yield app.label, name
