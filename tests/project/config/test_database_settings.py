"""Django's settings of the database: every wait has a limit, unless the URL or a variable says otherwise."""

from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from project.config.database_settings import database_settings


def settings(url: str, **timeouts: Any) -> dict[str, Any]:
    """Return the settings with the default timeouts, or with other ones."""
    defaults = {"connect_timeout": 5, "lock_timeout": None, "idle_in_transaction_timeout": 5.0, "statement_timeout": 30.0}
    return database_settings(url, **{**defaults, **timeouts})


def options(url: str, **timeouts: Any) -> dict[str, Any]:
    """Return the connection options."""
    found: dict[str, Any] = settings(url, **timeouts)["OPTIONS"]
    return found


def test_postgresql_gets_all_timeouts_from_the_client() -> None:
    found = options("postgres://mail@db/mail")

    assert (found["connect_timeout"], found["tcp_user_timeout"]) == (5, 10_000)
    assert found["options"] == ("-c lock_timeout=3000 -c idle_in_transaction_session_timeout=5000 -c statement_timeout=30000")
    assert make_conninfo("", **found)  # libpq knows all options


def test_options_of_the_url_take_precedence() -> None:
    found = options("postgres://mail@db/mail?options=-c%20lock_timeout%3D1s&connect_timeout=9&sslmode=require")

    assert (found["connect_timeout"], found["sslmode"]) == (9, "require")
    assert found["options"].endswith("-c statement_timeout=30000 -c lock_timeout=1s")


def test_zero_leaves_a_timeout_to_the_server() -> None:
    """PgBouncer rejects startup options that it does not know."""
    found = options("postgres://mail@db/mail", lock_timeout=0.0, idle_in_transaction_timeout=0.0, statement_timeout=0.0)

    assert "options" not in found


@pytest.mark.parametrize(("lock_timeout", "expected"), [(None, 10.0), (2.5, 2.5)])
def test_the_lock_timeout_is_the_busy_timeout_of_sqlite(lock_timeout: float | None, expected: float) -> None:
    assert options("sqlite:////tmp/mail.sqlite3", lock_timeout=lock_timeout)["timeout"] == expected


def test_other_databases_keep_the_options_of_the_url() -> None:
    found = settings("mysql://mail@db/mail?charset=utf8mb4")

    assert found["OPTIONS"] == {"charset": "utf8mb4"}
