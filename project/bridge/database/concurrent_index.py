"""Migration operations that add and remove indexes of a large table while other processes write to the table."""

from typing import Any

from django.db.migrations import AddIndex, AlterField, RemoveIndex


class AddIndexWithoutBlocking(AddIndex):
    """Django's `AddIndex`, but on PostgreSQL the index is built concurrently. Its migration must set `atomic = False`.

    Django's own `AddIndexConcurrently` works only on PostgreSQL. On SQLite, this operation is the same as `AddIndex`.
    """

    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Create the index. An invalid index that an interrupted run left behind is dropped first."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
            schema_editor.add_index(model, self.index, concurrently=True)


class RemoveIndexWithoutBlocking(RemoveIndex):
    """Django's `RemoveIndex`, but on PostgreSQL the index is dropped concurrently. Its migration must set `atomic = False`."""

    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop the index. An interrupted run may have dropped it already."""
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, to_state.apps.get_model(app_label, self.model_name)):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.name)}")


class RemoveForeignKeyIndexWithoutBlocking(AlterField):
    """Django's `AlterField` to `db_index=False`, without a copy of the table on SQLite, and concurrently on PostgreSQL.

    Its migration must set `atomic = False`. `field` must differ from the previous state in nothing else.
    """

    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop the index that Django made for the foreign key, but no index of the model's `Meta.indexes`."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            for name in _field_indexes(schema_editor.connection, model, self.name):
                schema_editor.execute(f"DROP INDEX {_concurrently(schema_editor)}IF EXISTS {schema_editor.quote_name(name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Create the index again."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            quote = schema_editor.quote_name
            table, column = model._meta.db_table, model._meta.get_field(self.name).column
            name = quote(f"{table}_{column}")
            schema_editor.execute(
                f"CREATE INDEX {_concurrently(schema_editor)}IF NOT EXISTS {name} ON {quote(table)} ({quote(column)})"
            )


def _concurrently(schema_editor: Any) -> str:
    return "CONCURRENTLY " if schema_editor.connection.vendor == "postgresql" else ""


def _field_indexes(connection: Any, model: Any, field: str) -> list[str]:
    """Return the names of the indexes of this field alone that the model does not name. They are those of `db_index`."""
    named = {index.name for index in model._meta.indexes}
    columns = [model._meta.get_field(field).column]
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return [
        name
        for name, each in constraints.items()
        if each["index"] and not each["unique"] and each["columns"] == columns and name not in named
    ]
