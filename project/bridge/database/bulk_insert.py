"""Inserting many rows by one prepared statement, in about a third of the time that `bulk_create` takes to write one for all."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

from django.db import connection
from django.db.models import AutoField, CharField, DateTimeField, Field, JSONField, Model, TextField, UUIDField


def bulk_insert(model: type[Model], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows: for each, by its fields' names, what is to be stored (`email_id` for a key).

    Ids that the database gives stay unknown.
    """
    if not rows:
        return
    statement, columns = _statement(model)
    values = [[prepared(row[name]) for name, prepared in columns] for row in rows]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


@cache
def _statement(model: type[Model]) -> tuple[str, list[tuple[str, Callable[[Any], Any]]]]:
    fields = [field for field in model._meta.concrete_fields if field.column and not isinstance(field, AutoField)]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    table, places = connection.ops.quote_name(model._meta.db_table), ", ".join(["%s"] * len(fields))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608  # names of ours
    return statement, [(field.attname, _converter(getattr(field, "target_field", field))) for field in fields]


@cache
def _converter(field: "Field[Any, Any]") -> Callable[[Any], Any]:
    """What the field itself does for the database, without its way there, which takes longer than the rest of the insertion."""
    if isinstance(field, CharField | TextField):
        return str
    if isinstance(field, DateTimeField | UUIDField):  # one transaction's moment, and an id that is in several tables
        return lru_cache(maxsize=1024)(partial(_prepare, field))
    return partial(_prepare, field)


def _prepare(field: "Field[Any, Any]", value: Any) -> Any:
    if value is None or type(value) is int:
        return value
    if isinstance(field, JSONField):
        return connection.ops.adapt_json_value(value, field.encoder)
    return field.get_db_prep_save(value, connection)
