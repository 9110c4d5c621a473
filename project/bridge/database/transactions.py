"""The one door from async code to Django's ORM.

Django keeps a connection per thread and tends it on signals that FastAPI never sends; asgiref's `sync_to_async` gives
either one thread for everyone or a new thread, and so a new connection, per request. Here a bounded pool of threads
keeps its connections, and tends them on the very thread that uses them.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..background.thread_pool import ThreadPool
from .write_lock import write_lock

P = ParamSpec("P")
T = TypeVar("T")

# What is raised while the database does not answer, or takes nothing: PostgreSQL is read-only while it changes hands.
DATABASE_UNAVAILABLE_ERRORS = (InterfaceError, OperationalError, InternalError)
POOL_SIZE = 4  # more gain nothing: SQLite has one writer, and Python one interpreter lock
UNTRANSACTED_POOL_SIZE = 2
PING_AFTER_IDLE_SECONDS = (
    1.0  # a connection unused for longer is asked whether it still lives before it is trusted with a transaction
)


_transaction_threads = ThreadPool("database", POOL_SIZE, on_thread_exit=connections.close_all)
_untransacted_threads = ThreadPool("aside", UNTRANSACTED_POOL_SIZE, on_thread_exit=connections.close_all)
_last_use = threading.local()
_last_failure_at = 0.0  # when the database was last seen to fail
_shared_connection: BaseDatabaseWrapper | None = None
_shared_connection_lock = threading.RLock()


async def run_in_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one synchronous function as one transaction, on the pool.

    It is committed when this returns, and rolled back when it raises. Context variables are passed in, exceptions passed out.
    """
    return await _transaction_threads.run(call_in_transaction, function, *args, **kwargs)


async def run_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """For what takes long for a reason of its own, such as a password's hash: beside the pool, and in no transaction.

    It keeps nobody else from the database meanwhile. Each statement is committed as it comes.
    """
    return await _untransacted_threads.run(_call_with_managed_connections, function, *args, **kwargs)


def call_in_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `run` does, on the calling thread: for commands and for threads that belong to someone else."""
    with acquire_write_lock(), managed_connections(), transaction.atomic(durable=True):
        return function(*args, **kwargs)


def ping_database() -> None:
    """For health checks: ask the database for anything."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def close_threads() -> None:
    """Close the connections of its threads. The next `run` starts them anew."""
    _transaction_threads.close()
    _untransacted_threads.close()


def acquire_write_lock() -> AbstractContextManager[object]:
    """Wait for one's turn to write, where the database has one writer."""
    connection = connections[DEFAULT_DB_ALIAS]
    one_writer = connection.vendor == "sqlite" and _shared_connection is None  # who borrows a connection queues for that
    return write_lock(str(connection.settings_dict["NAME"])) if one_writer else nullcontext()


@contextmanager
def managed_connections() -> Iterator[None]:
    """Care for this thread's connections as Django does around a request: none that is dead before, none that broke after."""
    if _shared_connection is not None:
        with _use_shared_connection(_shared_connection):
            yield
        return
    global _last_failure_at  # noqa: PLW0603  # one process, one database to have trouble with
    last = getattr(_last_use, "at", 0.0)
    doubtful = last < _last_failure_at or last < time.monotonic() - PING_AFTER_IDLE_SECONDS
    for connection in connections.all(initialized_only=True):
        _close_if_dead(connection, ask=doubtful)
    try:
        yield
    except DATABASE_UNAVAILABLE_ERRORS:
        _last_failure_at = time.monotonic()  # the other threads' connections may be dead too
        raise
    finally:
        for connection in connections.all(initialized_only=True):
            _close_if_dead(connection, ask=False)
        _last_use.at = time.monotonic()


@contextmanager
def shared_test_connection() -> Iterator[None]:
    """For tests: everything that goes through this door uses the calling thread's connection, and so sees its transaction.

    One at a time, since a connection has one transaction. What the test's rollback takes back includes what FastAPI wrote.
    """
    global _shared_connection  # noqa: PLW0603  # one process, one loan: a test's
    connection = connections[DEFAULT_DB_ALIAS]
    connection.inc_thread_sharing()
    _shared_connection = connection
    try:
        yield
    finally:
        close_threads()  # what was begun in the test's transaction ends in it, though its caller is gone: a closed socket's read
        _shared_connection = None
        connection.dec_thread_sharing()


def _call_with_managed_connections(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    with managed_connections():
        return function(*args, **kwargs)


def _close_if_dead(connection: BaseDatabaseWrapper, *, ask: bool) -> None:
    if connection.in_atomic_block:
        return  # someone else's transaction, on a thread of theirs
    # CONN_MAX_AGE is for Django's own requests (each has a thread of its own under ASGI, so it must be 0); the pool keeps its
    # connections, so their age does not count here. A thread of Django's may be here too: the age is for the end of its request.
    age, connection.close_at = connection.close_at, None
    connection.close_if_unusable_or_obsolete()
    connection.close_at = age
    if ask and connection.connection is not None and not connection.is_usable():
        connection.close()


@contextmanager
def _use_shared_connection(connection: BaseDatabaseWrapper) -> Iterator[None]:
    with _shared_connection_lock:
        own = connections[connection.alias]
        connections[connection.alias] = connection
        try:
            yield
        finally:
            connections[connection.alias] = own
