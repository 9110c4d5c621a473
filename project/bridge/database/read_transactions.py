"""Read-only transactions, on threads and connections of their own.

On SQLite, they do not acquire the write lock, and neither wait for writers nor block them: in WAL mode, a reader sees the last
commit before its first query. A function that writes fails, so that no write can bypass the write lock.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .transactions import create_database_threads, managed_connections
from .watchdog import watched

P = ParamSpec("P")
T = TypeVar("T")

READ_POOL_SIZE = 3
LOOKUP_POOL_SIZE = 2
MAX_SHOWN_SQL_LENGTH = 100  # characters of the statement, whose values are separate
WRITE_STATEMENTS = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP", "TRUNCATE")

_read_threads = create_database_threads("reads", READ_POOL_SIZE)
_lookup_threads = create_database_threads("lookups", LOOKUP_POOL_SIZE)


class WriteInReadTransaction(RuntimeError):
    """A function that was started as a read tried to write. Use `run_in_transaction` for it."""


async def run_in_read_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous function as one read-only transaction. Raises `WriteInReadTransaction` if it writes.

    The threads are separate from those of `run_in_transaction`, so slow reads do not delay writes.
    """
    return await _read_threads.run(call_in_read_transaction, function, *args, **kwargs)


async def run_lookup(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the same as `run_in_read_transaction`, on threads that slow reads cannot occupy.

    For reads of few rows by an index that many requests depend on, such as the check of a credential.
    """
    return await _lookup_threads.run(call_in_read_transaction, function, *args, **kwargs)


def call_in_read_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function as one read-only transaction on the calling thread. For threads outside the pools."""
    with managed_connections():
        connection = connections[DEFAULT_DB_ALIAS]
        with watched(connection):
            if not connection.in_atomic_block:  # a test's shared connection has an open transaction, which stays writable
                _make_read_only(connection)
            with transaction.atomic(durable=True), _reject_writes(connection):
                return function(*args, **kwargs)


def _make_read_only(connection: Any) -> None:
    """Let the database itself reject writes in this connection's transactions. Needs no round trip to the server.

    It also finds writes that `_reject_writes` does not recognize, such as `SELECT … FOR UPDATE` on PostgreSQL.
    """
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.transaction_mode = "DEFERRED"  # `DATABASES` may say IMMEDIATE, which waits for the writer
        connection.connection.execute("PRAGMA query_only = ON")
    elif connection.vendor == "postgresql" and not connection.connection.read_only:
        connection.connection.read_only = True


@contextmanager
def _reject_writes(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Raise `WriteInReadTransaction` for statements that write.

    The database's own error would look like an outage: PostgreSQL is read-only during a failover, too.
    """
    thread = threading.get_ident()  # the test itself may use a shared connection at the same time

    def execute_read(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if thread == threading.get_ident() and sql.lstrip()[:8].upper().startswith(WRITE_STATEMENTS):
            raise WriteInReadTransaction(f"The function was started as a read, but it writes: {sql[:MAX_SHOWN_SQL_LENGTH]}")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(execute_read):
        yield
