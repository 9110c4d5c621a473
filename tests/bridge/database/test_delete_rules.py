"""Delete rules of foreign keys in the database. tests/servers/test_sql_by_hand.py deletes rows on both databases."""

from contextlib import nullcontext
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from project.bridge.database import delete_rules
from project.bridge.database.delete_rules import DeleteRule, apply_delete_rules

RULE = DeleteRule("child", "parent_id", "parent", "id", "CASCADE")


class BusyDatabase:
    """A connection whose first statements time out while they wait for a lock."""

    ops = connection.ops
    alias = "default"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.statements: list[str] = []

    def cursor(self) -> Any:
        """Return this object, which is its own cursor."""
        return nullcontext(self)

    def execute(self, statement: str) -> None:
        """Record the statement."""
        self.statements.append(statement)
        if len(self.statements) <= self.failures:
            raise OperationalError("canceling statement due to lock timeout")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the statements without transactions and pauses."""
    monkeypatch.setattr(delete_rules, "LOCK_PAUSE_SECONDS", 0)
    monkeypatch.setattr(transaction, "atomic", lambda **_options: nullcontext())


@pytest.mark.usefixtures("no_pauses")
def test_tries_again_while_the_tables_are_locked() -> None:
    database = BusyDatabase(failures=3)

    delete_rules._change_constraint(database, RULE, '"fk"')  # type: ignore[arg-type]

    assert len(database.statements) == 4
    assert database.statements[0].startswith('SET LOCAL lock_timeout = \'500ms\'; LOCK TABLE "parent", "child"')
    assert database.statements[0].endswith("ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED NOT VALID")


@pytest.mark.usefixtures("no_pauses")
def test_gives_up_after_a_limited_number_of_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_rules, "LOCK_ATTEMPTS", 2)
    database = BusyDatabase(failures=5)

    with pytest.raises(OperationalError):
        delete_rules._change_constraint(database, RULE, '"fk"')  # type: ignore[arg-type]

    assert len(database.statements) == 2


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has these triggers")
def test_leaves_out_tables_that_a_migration_backwards_has_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_rules, "delete_rules", lambda: [RULE])

    assert delete_rules._triggers(connection) == {}


@pytest.mark.django_db
def test_changes_nothing_if_the_rules_are_those_of_the_models() -> None:
    with connection.execute_wrapper(refuse_changes):
        apply_delete_rules("default")


def refuse_changes(execute: Any, sql: str, *arguments: Any) -> Any:
    """Run a statement, unless it changes the schema."""
    assert not sql.startswith(("CREATE", "DROP", "ALTER", "SET")), sql
    return execute(sql, *arguments)
