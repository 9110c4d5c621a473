"""Delete rules of foreign keys in the database: rows deleted with SQL take their dependent rows along, as with Django's ORM.

Django writes foreign keys without ON DELETE, and implements `on_delete` in Python. After each `migrate`, the functions below
compare the database with the models, and change only the rules that differ:

- On PostgreSQL, a foreign key gets ON DELETE CASCADE or SET NULL. The new constraint is validated after its locks are released.
- On SQLite, a trigger implements the rule. Only a copy of the table could change the constraint itself, and most programs do not
  enforce constraints (`PRAGMA foreign_keys`), but all programs run triggers.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import OperationalError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate, pre_migrate

ACTIONS: dict[Any, str] = {
    models.CASCADE: "CASCADE",
    models.SET_NULL: "SET NULL",
    models.PROTECT: "NO ACTION",
    models.RESTRICT: "NO ACTION",
    models.DO_NOTHING: "NO ACTION",
}
POSTGRESQL_CODES = {"CASCADE": "c", "SET NULL": "n", "NO ACTION": "a"}  # pg_constraint.confdeltype
TRIGGER_SUFFIX = "_on_delete"
# Shorter than PostgreSQL's deadlock_timeout, so that this program gives up its locks before another transaction is canceled.
LOCK_TIMEOUT = "500ms"
LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = 60, 0.5


@dataclass(frozen=True)
class DeleteRule:
    """The action for the rows of `table` whose `column` refers to a deleted row of `parent`."""

    table: str
    column: str
    parent: str
    parent_column: str
    action: str


def keep_delete_rules(*, sender: Any) -> None:
    """Apply the rules after each `migrate`. `sender` is an app config with models."""
    pre_migrate.connect(_before_migrations, sender=sender, dispatch_uid="delete rules")
    post_migrate.connect(_after_migrations, sender=sender, dispatch_uid="delete rules")


def delete_rules() -> Iterator[DeleteRule]:
    """Yield the rule of each foreign key of the installed apps. Rules that only Python code can apply are left out."""
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_concrete_fields if model._meta.managed else ():
            if isinstance(field, models.ForeignKey) and getattr(field, "db_constraint", True):
                action = ACTIONS.get(field.remote_field.on_delete)
                target = field.target_field
                if action is not None:
                    yield DeleteRule(
                        model._meta.db_table, str(field.column), target.model._meta.db_table, str(target.column), action
                    )


def apply_delete_rules(using: str) -> None:
    """Change the rules of the database that differ from those of the models."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        _replace_triggers(connection, _triggers(connection))
    elif connection.vendor == "postgresql":
        _change_constraints(connection)


def _before_migrations(*, using: str, plan: Any = (), **_kwargs: Any) -> None:
    # Django changes a table by copying it and renaming the copy. SQLite refuses that if a trigger names the table.
    if plan and connections[using].vendor == "sqlite":
        _replace_triggers(connections[using], {})


def _after_migrations(*, using: str, **_kwargs: Any) -> None:
    apply_delete_rules(using)


# SQLite


def _triggers(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the statements that create the triggers, by the triggers' names."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        columns = {
            (table, column.name) for table in tables for column in connection.introspection.get_table_description(cursor, table)
        }
    # After a migration backwards, tables and columns of the models are missing.
    rules = [rule for rule in delete_rules() if {(rule.table, rule.column), (rule.parent, rule.parent_column)} <= columns]
    return {f"{rule.table}_{rule.column}{TRIGGER_SUFFIX}": _trigger(connection, rule) for rule in rules}


def _trigger(connection: BaseDatabaseWrapper, rule: DeleteRule) -> str:
    quote = connection.ops.quote_name
    name = quote(f"{rule.table}_{rule.column}{TRIGGER_SUFFIX}")
    table, column, parent = quote(rule.table), quote(rule.column), quote(rule.parent)
    dependent = f"{column} = OLD.{quote(rule.parent_column)}"
    if rule.action == "NO ACTION":
        # The constraint itself is checked only at the end of a transaction, so this is for programs that do not enforce it.
        found = f"EXISTS (SELECT 1 FROM {table} WHERE {dependent})"  # noqa: S608  # the names are those of the models
        error = f"SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed') WHERE {found}"
        is_enforced = "(SELECT foreign_keys FROM pragma_foreign_keys)"
        return f"CREATE TRIGGER {name} BEFORE DELETE ON {parent} WHEN NOT {is_enforced} BEGIN {error}; END"
    change = f"DELETE FROM {table}" if rule.action == "CASCADE" else f"UPDATE {table} SET {column} = NULL"  # noqa: S608
    return f"CREATE TRIGGER {name} AFTER DELETE ON {parent} BEGIN {change} WHERE {dependent}; END"


def _replace_triggers(connection: BaseDatabaseWrapper, wanted: dict[str, str]) -> None:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        existing = {name: sql for name, sql in cursor.fetchall() if name.endswith(TRIGGER_SUFFIX)}
        for name, statement in existing.items():
            if wanted.get(name) != statement:
                cursor.execute(f"DROP TRIGGER {connection.ops.quote_name(name)}")
        for name, statement in wanted.items():
            if existing.get(name) != statement:
                cursor.execute(statement)


# PostgreSQL


def _change_constraints(connection: BaseDatabaseWrapper) -> None:
    rules = {(rule.table, rule.column): rule for rule in delete_rules()}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.conname, t.relname, a.attname, c.confdeltype, c.convalidated FROM pg_constraint c"
            " JOIN pg_class t ON t.oid = c.conrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]"
            " WHERE c.contype = 'f' AND cardinality(c.conkey) = 1 AND c.connamespace = current_schema()::regnamespace"
        )
        constraints = cursor.fetchall()
    quote = connection.ops.quote_name
    for name, table, column, code, is_valid in constraints:
        rule = rules.get((table, column))
        if rule is None:
            continue
        if is_different := code != POSTGRESQL_CODES[rule.action]:
            _change_constraint(connection, rule, quote(name))
        if is_different or not is_valid:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {quote(table)} VALIDATE CONSTRAINT {quote(name)}")


def _change_constraint(connection: BaseDatabaseWrapper, rule: DeleteRule, name: str) -> None:
    """Replace a constraint, without a check of the existing rows. Gives up its locks and tries again if it has to wait."""
    quote = connection.ops.quote_name
    table, parent = quote(rule.table), quote(rule.parent)
    statement = (
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; LOCK TABLE {parent}, {table} IN ACCESS EXCLUSIVE MODE;"
        f" ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} FOREIGN KEY ({quote(rule.column)})"
        f" REFERENCES {parent} ({quote(rule.parent_column)}) ON DELETE {rule.action} DEFERRABLE INITIALLY DEFERRED NOT VALID"
    )
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(statement)
        except OperationalError:
            if attempt == LOCK_ATTEMPTS:
                raise
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return
