"""Migration operations that add and remove indexes of a large table while other processes write to the table."""

from typing import Any

from django.db.migrations import AddIndex, RemoveIndex


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
