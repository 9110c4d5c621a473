"""Django's `DATABASES`, built from `DATABASE_URL` and the timeouts, so that no wait for the database is without a limit."""

from typing import Any

import dj_database_url

SQLITE = "django.db.backends.sqlite3"
POSTGRESQL_ENGINES = frozenset({"django.db.backends.postgresql", "django.contrib.gis.db.backends.postgis"})
SQLITE_LOCK_TIMEOUT_SECONDS = 10.0  # longer than PostgreSQL's, because a transaction waits for all other writers
POSTGRESQL_LOCK_TIMEOUT_SECONDS = 3.0
# For a server host that no longer answers. The kernel sends probes after 5 idle seconds, and closes the connection after
# 10 seconds without an acknowledgment.
TCP_OPTIONS = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}


def database_settings(
    url: str, *, connect_timeout: int, lock_timeout: float | None, idle_in_transaction_timeout: float, statement_timeout: float
) -> dict[str, Any]:
    """Return the settings of the database. All timeouts are in seconds; 0 leaves a timeout to the server.

    Options in the URL take precedence over the timeouts.
    """
    # CONN_MAX_AGE=0: under ASGI, each of Django's own requests runs on a new thread and opens a new connection, so persistent
    # connections would pile up. The thread pools of project.bridge.database.transactions keep their own connections open.
    settings: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=0))
    if settings["ENGINE"] == SQLITE:
        settings["OPTIONS"] = {
            # In SQLite's default mode, a transaction that reads and then writes fails with "database is locked" if another
            # transaction wrote in between.
            "transaction_mode": "IMMEDIATE",
            "timeout": lock_timeout or SQLITE_LOCK_TIMEOUT_SECONDS,  # the busy timeout, also of the write lock
            # With FULL, commits survive a power failure, in WAL mode too.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
    elif settings["ENGINE"] in POSTGRESQL_ENGINES:
        given = settings.get("OPTIONS", {})
        timeouts = {
            "lock_timeout": POSTGRESQL_LOCK_TIMEOUT_SECONDS if lock_timeout is None else lock_timeout,
            "idle_in_transaction_session_timeout": idle_in_transaction_timeout,
            "statement_timeout": statement_timeout,
        }
        settings["OPTIONS"] = {"connect_timeout": connect_timeout, **TCP_OPTIONS, **given}
        if options := _startup_options(timeouts, given.get("options", "")):
            settings["OPTIONS"]["options"] = options
        settings["STATEMENT_TIMEOUT"] = statement_timeout  # for project.bridge.database.watchdog
    return settings


def _startup_options(timeouts: dict[str, float], given: str) -> str:
    """Return libpq's `options`. If an option is set twice, PostgreSQL uses the last value."""
    own = [f"-c {name}={round(seconds * 1000)}" for name, seconds in timeouts.items() if seconds]
    return " ".join([*own, given]).strip()
