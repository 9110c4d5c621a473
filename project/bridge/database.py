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

from . import turns
from .threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

# What is raised while the database does not answer, or takes nothing: PostgreSQL is read-only while it changes hands.
AWAY = (InterfaceError, OperationalError, InternalError)
POOL_SIZE = 4  # more gain nothing: SQLite has one writer, and Python one interpreter lock
ASIDE_SIZE = 2
IDLE_SECONDS = 1.0  # a connection unused for longer is asked whether it still lives before it is trusted with a transaction


_threads = Threads("database", POOL_SIZE, on_leave=connections.close_all)
_aside = Threads("aside", ASIDE_SIZE, on_leave=connections.close_all)
_tended = threading.local()
_trouble_at = 0.0  # when the database was last seen to fail
_lent: BaseDatabaseWrapper | None = None
_lent_lock = threading.RLock()


async def run(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one synchronous function as one transaction, on the pool.

    It is committed when this returns, and rolled back when it raises. Context variables are passed in, exceptions passed out.
    """
    return await _threads.run(call, function, *args, **kwargs)


async def run_aside(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """For what takes long for a reason of its own, such as a password's hash: beside the pool, and in no transaction.

    It keeps nobody else from the database meanwhile. Each statement is committed as it comes.
    """
    return await _aside.run(_tended_call, function, *args, **kwargs)


def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `run` does, on the calling thread: for commands and for threads that belong to someone else."""
    with turn(), tended(), transaction.atomic(durable=True):
        return function(*args, **kwargs)


def ping() -> None:
    """For health checks: ask the database for anything."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def close() -> None:
    """Close the connections of its threads. The next `run` starts them anew."""
    _threads.close()
    _aside.close()


def turn() -> AbstractContextManager[object]:
    """Wait for one's turn to write, where the database has one writer."""
    connection = connections[DEFAULT_DB_ALIAS]
    one_writer = connection.vendor == "sqlite" and _lent is None  # who borrows a connection queues for that
    return turns.turn(str(connection.settings_dict["NAME"])) if one_writer else nullcontext()


@contextmanager
def tended() -> Iterator[None]:
    """Care for this thread's connections as Django does around a request: none that is dead before, none that broke after."""
    if _lent is not None:
        with _borrowed(_lent):
            yield
        return
    global _trouble_at  # noqa: PLW0603  # one process, one database to have trouble with
    last = getattr(_tended, "at", 0.0)
    doubtful = last < _trouble_at or last < time.monotonic() - IDLE_SECONDS
    for connection in connections.all(initialized_only=True):
        _close_if_dead(connection, ask=doubtful)
    try:
        yield
    except AWAY:
        _trouble_at = time.monotonic()  # the other threads' connections may be dead too
        raise
    finally:
        for connection in connections.all(initialized_only=True):
            _close_if_dead(connection, ask=False)
        _tended.at = time.monotonic()


@contextmanager
def lent() -> Iterator[None]:
    """For tests: everything that goes through this door uses the calling thread's connection, and so sees its transaction.

    One at a time, since a connection has one transaction. What the test's rollback takes back includes what FastAPI wrote.
    """
    global _lent  # noqa: PLW0603  # one process, one loan: a test's
    connection = connections[DEFAULT_DB_ALIAS]
    connection.inc_thread_sharing()
    _lent = connection
    try:
        yield
    finally:
        close()  # what was begun in the test's transaction ends in it, though its caller is gone: a closed socket's read
        _lent = None
        connection.dec_thread_sharing()


def _tended_call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    with tended():
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
def _borrowed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    with _lent_lock:
        own = connections[connection.alias]
        connections[connection.alias] = connection
        try:
            yield
        finally:
            connections[connection.alias] = own
