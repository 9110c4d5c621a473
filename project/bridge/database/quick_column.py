"""Migration operation that adds a column with a default to a large table at once."""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddField


class AddFieldWithoutRebuild(AddField):
    """Django's `AddField` for a field with a constant `db_default`, without a copy of the table on SQLite.

    Django copies the whole table if the field is not nullable, while all writers wait. SQLite's own ALTER TABLE ADD COLUMN needs
    no copy for a column with a constant default.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Add the column."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(schema_editor.connection.alias, model):
            BaseDatabaseSchemaEditor.add_field(schema_editor, model, model._meta.get_field(self.name))
