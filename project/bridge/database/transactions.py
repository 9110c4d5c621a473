"""The only way to use Django's ORM from async code.

Django keeps one connection per thread, and cleans it up on signals that FastAPI never sends. asgiref's `sync_to_async` runs all
callers on one thread, or each request on a new thread with a new connection. In this module, a bounded pool of threads keeps its
connections open, and each thread checks its own connection.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..background.thread_pool import ThreadPool
from ..notifications.local import LocalSignal
from .outage_log import UNAVAILABLE_ERRORS, record_success
from .watchdog import watched
from .write_lock import write_lock

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_UNAVAILABLE_ERRORS = UNAVAILABLE_ERRORS
POOL_SIZE = 4  # more threads are not faster: SQLite has one writer, and Python has the GIL
UNTRANSACTED_POOL_SIZE = 2
DEFAULT_BUSY_TIMEOUT_SECONDS = 5.0  # of Python's sqlite3
MAX_THREAD_WAIT_SECONDS = 10.0  # a call that waits for a thread for longer fails, as if the database were unavailable
CLOSE_TIMEOUT_SECONDS = 5.0
PING_AFTER_IDLE_SECONDS = 1.0  # a connection idle for longer is pinged before a transaction uses it


commits = LocalSignal[[float]]()  # the seconds that a commit took, with its callbacks; sent on the transaction's thread

_pools: list[ThreadPool] = []
_last_use = threading.local()
_last_failure_at = 0.0  # when the database last failed, on the monotonic clock
_shared_connection: BaseDatabaseWrapper | None = None
_shared_connection_lock = threading.RLock()


def create_database_threads(name: str, size: int) -> ThreadPool:
    """Return a pool whose threads close their connections when they end. `close_threads` closes the pool too.

    A call that waits too long for a thread fails with `OperationalError`.
    """
    pool = ThreadPool(
        name, size, on_thread_exit=connections.close_all, max_wait=MAX_THREAD_WAIT_SECONDS, busy_error=OperationalError
    )
    _pools.append(pool)
    return pool


_transaction_threads = create_database_threads("database", POOL_SIZE)
_untransacted_threads = create_database_threads("untransacted", UNTRANSACTED_POOL_SIZE)


async def run_in_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous function as one transaction, on a thread of the pool.

    The transaction is already committed when this coroutine returns. If the function raises, the transaction is rolled back, and
    the exception is raised to the caller. The function sees the caller's context variables. Raises `OperationalError` if no
    thread becomes free in time.
    """
    return await _transaction_threads.run(call_in_transaction, function, *args, **kwargs)


async def run_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a synchronous function without a transaction, on a separate pool of threads. Each statement is committed at once.

    Use it for functions that spend most of their time outside the database, such as hashing a password, so that they do not block
    transactions.
    """
    return await _untransacted_threads.run(_call_with_managed_connections, function, *args, **kwargs)


def call_in_transaction(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function as one transaction on the calling thread. For management commands, and for threads outside the pool."""
    # Watched from the beginning, because opening a connection sends a statement that Django's wrappers do not see.
    with acquire_write_lock(), watched(connections[DEFAULT_DB_ALIAS]), managed_connections():
        with transaction.atomic(durable=True):
            result = function(*args, **kwargs)
            ended_at = time.perf_counter()
        commits.send(time.perf_counter() - ended_at)
        return result


def ping_database() -> None:
    """Run a trivial query, as a health check."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def close_threads() -> None:
    """End the pools' threads and close their connections. The next call starts new threads.

    Waits up to `CLOSE_TIMEOUT_SECONDS` for all pools: a thread may be waiting for a database that does not answer.
    """
    deadline = time.monotonic() + CLOSE_TIMEOUT_SECONDS
    for pool in _pools:
        pool.close(timeout=max(0.0, deadline - time.monotonic()))


def acquire_write_lock() -> AbstractContextManager[object]:
    """Return a context manager that holds the write lock if the database is SQLite, which has one writer.

    The wait for the lock is limited by SQLite's busy timeout.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    # With a test's shared connection, the connection's own lock serializes the writers.
    one_writer = connection.vendor == "sqlite" and _shared_connection is None
    if not one_writer:
        return nullcontext()
    timeout = connection.settings_dict["OPTIONS"].get("timeout", DEFAULT_BUSY_TIMEOUT_SECONDS)
    return write_lock(str(connection.settings_dict["NAME"]), timeout=timeout)


@contextmanager
def managed_connections() -> Iterator[None]:
    """Manage this thread's connections as Django does for a request: close unusable connections before and after the context."""
    if _shared_connection is not None:
        with _use_shared_connection(_shared_connection):
            yield
        return
    global _last_failure_at  # noqa: PLW0603  # all threads share this variable
    last_use_at = getattr(_last_use, "at", 0.0)
    may_be_dead = last_use_at < _last_failure_at or last_use_at < time.monotonic() - PING_AFTER_IDLE_SECONDS
    for connection in connections.all(initialized_only=True):
        _close_if_dead(connection, ping=may_be_dead)
    try:
        yield
    except DATABASE_UNAVAILABLE_ERRORS:
        _last_failure_at = time.monotonic()  # the other threads' connections may be dead too
        raise
    else:
        record_success()
    finally:
        for connection in connections.all(initialized_only=True):
            _close_if_dead(connection, ping=False)
        _last_use.at = time.monotonic()


@contextmanager
def shared_test_connection() -> Iterator[None]:
    """Let all functions of this module use the calling thread's connection, so that the functions see the test's transaction.

    For tests only. The functions run one at a time, because a connection has only one transaction. The test's rollback also
    reverts FastAPI's writes.
    """
    global _shared_connection  # noqa: PLW0603  # all threads share this variable
    connection = connections[DEFAULT_DB_ALIAS]
    connection.inc_thread_sharing()
    _shared_connection = connection
    try:
        yield
    finally:
        # Wait for running calls, even if their callers are gone (a closed WebSocket). No call may run into the next test.
        close_threads()
        _shared_connection = None
        connection.dec_thread_sharing()


def _call_with_managed_connections(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    with managed_connections():
        return function(*args, **kwargs)


def _close_if_dead(connection: BaseDatabaseWrapper, *, ping: bool) -> None:
    if connection.in_atomic_block:
        return  # a thread outside the pool has its own open transaction
    # CONN_MAX_AGE is for Django's own requests. Under ASGI each request runs on a new thread, so CONN_MAX_AGE must be 0. The pool
    # keeps connections of any age, so `close_at` is unset for this check. It is restored for Django's own check after a request.
    close_at, connection.close_at = connection.close_at, None
    connection.close_if_unusable_or_obsolete()
    connection.close_at = close_at
    if ping and connection.connection is not None and not connection.is_usable():
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
