"""Watchdog for a PostgreSQL server that no longer answers, for example because it is stopped or swapped out.

PostgreSQL's own timeouts do not help then, and the kernel still acknowledges each packet, so a statement would wait forever. The
watchdog closes the sockets of such statements, and they fail with `OperationalError`. Commits, rollbacks and pings are watched
like statements.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

P = ParamSpec("P")
T = TypeVar("T")

STATEMENT_TIMEOUT_SETTING = "STATEMENT_TIMEOUT"  # a key of the database's settings: seconds, the server's `statement_timeout`
SILENCE_SECONDS = 3.0  # after this time without an answer to a statement, the watchdog checks whether the server still answers
CHECK_TIMEOUT_SECONDS = 5.0
CHECK_INTERVAL_SECONDS = 0.5
STATEMENT_TIMEOUT_MARGIN_SECONDS = 5.0  # the server should have canceled the statement before
UNWRAPPED_METHODS = ("_commit", "_rollback", "is_usable")  # methods that wait for the server outside of Django's execute wrappers


@dataclass(eq=False)
class _Activity:
    """Use of a connection by a thread: since when it waits for the server, and when the server last answered a check."""

    connection: BaseDatabaseWrapper
    since: float
    server_answered_at: float = 0.0


_active: dict[int, _Activity] = {}  # by thread
_has_activity = threading.Event()
_start_lock = threading.Lock()
_thread: threading.Thread | None = None


def watch_connections() -> None:
    """Watch the statements of all connections to PostgreSQL that this process opens from now on."""
    connection_created.connect(_watch_statements, dispatch_uid="database watchdog")


@contextlib.contextmanager
def watched(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Watch the calling thread, which uses `connection`. Each statement restarts the time without an answer."""
    if connection.vendor != "postgresql":
        yield
        return
    thread, outer = threading.get_ident(), _active.get(threading.get_ident())
    _active[thread] = _Activity(connection, time.monotonic())
    _ensure_watching()
    try:
        yield
    finally:
        if outer is None:
            del _active[thread]
        else:
            outer.since = time.monotonic()
            _active[thread] = outer


def _watch_statements(*, connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
    if connection.vendor == "postgresql" and _execute_watched not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _execute_watched)  # first, because Django removes the last one
        for name in UNWRAPPED_METHODS:
            setattr(connection, name, _watch_method(connection, getattr(connection, name)))


def _watch_method(connection: BaseDatabaseWrapper, method: Callable[P, T]) -> Callable[P, T]:
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with watched(connection):
            return method(*args, **kwargs)

    return call


def _execute_watched(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    with watched(context["connection"]):
        return execute(sql, params, many, context)


def _ensure_watching() -> None:
    global _thread  # noqa: PLW0603  # guarded by the lock
    if not _has_activity.is_set():
        _has_activity.set()
    if _thread is None or not _thread.is_alive():
        with _start_lock:
            if _thread is None or not _thread.is_alive():
                _thread = threading.Thread(target=_watch, name="database-watchdog", daemon=True)
                _thread.start()


def _watch() -> None:
    while True:
        _has_activity.wait()
        _has_activity.clear()
        while _active:
            time.sleep(CHECK_INTERVAL_SECONDS)
            _close_unanswered()


def _close_unanswered() -> None:
    """Close the connections that have waited too long. Checks the server at most once per `SILENCE_SECONDS`."""
    silent = [activity for activity in list(_active.values()) if _is_silent(activity)]
    if not silent:
        return
    answers = _server_answers(silent[0].connection)
    for activity in silent:
        if answers and not _is_overdue(activity):
            activity.server_answered_at = time.monotonic()
        elif _is_silent(activity) and activity in list(_active.values()):
            _close_socket(activity.connection)


def _is_silent(activity: _Activity) -> bool:
    return time.monotonic() - max(activity.since, activity.server_answered_at) > SILENCE_SECONDS


def _is_overdue(activity: _Activity) -> bool:
    limit = activity.connection.settings_dict.get(STATEMENT_TIMEOUT_SETTING, 0)
    return bool(limit) and time.monotonic() - activity.since > limit + STATEMENT_TIMEOUT_MARGIN_SECONDS


def _server_answers(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the server answers a query on a new connection in time. To reject the connection is an answer too."""
    probe, answers, done = connection.copy(), list[bool](), threading.Event()
    probe.inc_thread_sharing()

    def check() -> None:
        try:
            probe.connect()
            with probe.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001  # of Django or of the driver
            answers.append("FATAL" in str(error))  # the server's severity, for example if it has no connection left
        else:
            answers.append(True)
        finally:
            done.set()
            probe.close()

    threading.Thread(target=check, name="database-check", daemon=True).start()
    if not done.wait(CHECK_TIMEOUT_SECONDS):
        _close_socket(probe)
    return answers == [True]


def _close_socket(connection: BaseDatabaseWrapper) -> None:
    """Shut the socket down, which wakes the thread that waits for it. That thread closes the connection itself."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
