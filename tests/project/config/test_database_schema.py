"""Checks of the database schema at startup. tests/servers/test_startup.py tests the checks with real processes."""

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from project.config import database_schema
from project.config.database_schema import (
    PRE_RELEASE_TABLE,
    DatabaseDoesNotAnswer,
    IncompatibleDatabase,
    UnpreparedDatabase,
    check_database_at_startup,
    has_pending_migrations,
    refuse_incompatible_database,
    startup_connection,
)


@pytest.mark.django_db
def test_a_prepared_database_is_compatible_and_complete() -> None:
    refuse_incompatible_database()

    assert not has_pending_migrations()


@pytest.mark.django_db
def test_does_not_load_the_migrations_of_a_complete_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_schema, "MigrationExecutor", None)

    assert not has_pending_migrations()


@pytest.mark.django_db
@pytest.mark.parametrize("app", ["emails", "auth"])
def test_a_migration_that_was_not_applied_is_pending(app: str) -> None:
    applied = MigrationRecorder(connection).migration_qs.filter(app=app)
    applied.filter(name=applied.order_by("-name").values("name")[:1]).delete()

    assert has_pending_migrations()


@pytest.mark.django_db
def test_refuses_a_database_from_before_the_first_release() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {PRE_RELEASE_TABLE} (id integer PRIMARY KEY)")

    with pytest.raises(IncompatibleDatabase, match="set DATA_DIR to a new directory, or DATABASE_URL to a new database"):
        refuse_incompatible_database()


@pytest.mark.django_db
def test_the_check_costs_one_query(django_assert_num_queries: type) -> None:
    with django_assert_num_queries(1):
        refuse_incompatible_database()


def test_an_unavailable_database_does_not_stop_the_start() -> None:
    warnings: list[str] = []

    with startup_connection(warnings.append):
        _fail("connection to postgres://hush@db failed: connection refused")

    assert warnings == ["The database is unavailable: connection refused."]


def test_a_database_that_does_not_answer_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_schema, "SILENCE_SECONDS", -1.0)

    with pytest.raises(DatabaseDoesNotAnswer, match="Check DATABASE_URL"), startup_connection(print):
        _fail("connection timeout expired")


@pytest.mark.django_db
def test_an_unprepared_database_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_schema, "has_pending_migrations", lambda: True)

    with pytest.raises(UnpreparedDatabase, match="run `manage"):
        check_database_at_startup(print)


def test_other_errors_stop_the_start() -> None:
    with pytest.raises(IncompatibleDatabase), startup_connection(print):
        raise IncompatibleDatabase


def _fail(message: str) -> None:
    raise OperationalError(message)
