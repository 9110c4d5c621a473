"""Bulk inserts without the overhead of Django's fields.

They take about a third of the time of `bulk_create`, which converts each value with a method of its field.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import AutoField, BinaryField, CharField, DateTimeField, Field, JSONField, Model, TextField, UUIDField

_NO_CONNECTION: Any = None  # adapting a value uses none, and each thread has its own
MAX_QUERY_BYTES = 1024 * 1024  # of the statements that PostgreSQL gets at once; a larger row is sent alone

Rows = Sequence[Mapping[str, Any]]
Column = tuple[str, Callable[[Any], Any]]  # the attribute's name, and the converter of its values


def bulk_insert(model: type[Model], rows: Rows, *, first: str = "") -> None:
    """Insert rows. Each row maps attribute names (`email_id` for a foreign key) to values.

    The ids that the database assigns are not returned. `first` is a statement that runs before, if there are rows.
    """
    bulk_insert_all([(model, rows)], first=first)


def bulk_insert_all(inserts: Iterable[tuple[type[Model], Rows]], *, first: str = "") -> None:
    """Insert rows of several models, in this order. PostgreSQL usually gets them in one round trip."""
    if not (with_rows := [(model, rows) for model, rows in inserts if rows]):
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for query in _queries(first, with_rows):
                cursor.execute(query)
            return
        if first:
            cursor.execute(first)
        for model, rows in with_rows:
            insert, columns = _statement(model)
            cursor.executemany(f"{insert} ({', '.join(['%s'] * len(columns))})", [_values(row, columns) for row in rows])


def _values(row: Mapping[str, Any], columns: Sequence[Column]) -> list[Any]:
    return [convert(row[name]) for name, convert in columns]


def _queries(first: str, inserts: Sequence[tuple[type[Model], Rows]]) -> Iterator[str]:
    """Yield the texts of many statements with their values, separated by semicolons. PostgreSQL gets a text in one message.

    psycopg's `executemany` takes more than twice the CPU time. It also ends with a Flush message, which disables PostgreSQL's
    `idle_in_transaction_session_timeout`. A process that is stopped then would hold its locks forever.
    """
    statements, size = [first.encode()] if first else [], 0
    for statement in _insert_statements(inserts):
        if size and size + len(statement) > MAX_QUERY_BYTES:
            yield b";".join(statements).decode()
            statements, size = [], 0
        statements.append(statement)
        size += len(statement)
    yield b";".join(statements).decode()


def _insert_statements(inserts: Sequence[tuple[type[Model], Rows]]) -> Iterator[bytes]:
    backend: Any = connection  # psycopg is not imported, because SQLite does not need it
    literal = backend.Database.adapt.Transformer(backend.connection).as_literal
    for model, rows in inserts:
        insert, columns = _statement(model)
        with connection.wrap_database_errors:  # a text may contain a NUL
            literals = [b"(%s)" % b",".join(map(literal, _values(row, columns))) for row in rows]
        for part in _parts(literals):
            yield b"%s %s" % (insert.encode(), b",".join(part))


def _parts(rows: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the rows in parts of up to `MAX_QUERY_BYTES`."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        if size and size + len(row) > MAX_QUERY_BYTES:
            yield rows[start:index]
            start, size = index, 0
        size += len(row)
    yield rows[start:]


@cache
def _statement(model: type[Model]) -> tuple[str, list[Column]]:
    """Return the beginning of the statement, and the columns."""
    fields = [field for field in model._meta.concrete_fields if field.column and not isinstance(field, AutoField)]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    insert = f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns}) VALUES"
    return insert, [(field.attname, value_converter(getattr(field, "target_field", field))) for field in fields]


@cache
def value_converter(field: "Field[Any, Any]") -> Callable[[Any], Any]:
    """Return a function that converts a value for the database.

    It replaces `field.get_db_prep_save`, whose overhead takes longer than the rest of the insert.
    """
    if isinstance(field, CharField | TextField):
        return _str_or_none if field.null else str
    is_sqlite = connection.vendor == "sqlite"
    if isinstance(field, DateTimeField):
        return _remembering(partial(_prepare_datetime, field, is_sqlite and connection.timezone is UTC))
    if isinstance(field, UUIDField):
        return _remembering(partial(_prepare_uuid, field, connection.features.has_native_uuid_field))
    if isinstance(field, BinaryField) and is_sqlite:
        return _unchanged
    if isinstance(field, JSONField):
        return _json_converter(field)
    return partial(_prepare, field)


def _remembering(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the converter with a memory for the last value. Many rows of a transaction have the same time, or the same id."""
    last = (None, convert(None))

    def convert_once(value: Any) -> Any:
        nonlocal last
        known, converted = last
        if value is not known:
            converted = convert(value)
            last = value, converted
        return converted

    return convert_once


def _unchanged(value: Any) -> Any:
    return value


def _prepare_uuid(field: "Field[Any, Any]", is_native: bool, value: Any) -> Any:
    if type(value) is UUID:
        return value if is_native else value.hex
    return _prepare(field, value)


def _str_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _prepare_datetime(field: "Field[Any, Any]", is_text: bool, value: datetime | None) -> Any:
    """Return a time as the column stores it. On SQLite, a time in UTC becomes text without a time zone, as Django writes it."""
    if is_text and value is not None and value.tzinfo is UTC:
        return value.replace(tzinfo=None).isoformat(" ")
    return _prepare(field, value)


def _json_converter(field: "JSONField") -> Callable[[Any], Any]:
    adapt: Callable[[Any], Any] = partial(type(connection.ops)(_NO_CONNECTION).adapt_json_value, encoder=field.encoder)
    if connection.vendor == "sqlite" and field.encoder is None:
        adapt = json.dumps  # as Django does, but without two more calls
    empty_list, empty_object = adapt([]), adapt({})

    def convert(value: Any) -> Any:
        if value == []:
            return empty_list
        if value == {}:
            return empty_object
        return None if value is None else adapt(value)

    return convert


def _prepare(field: "Field[Any, Any]", value: Any) -> Any:
    if value is None or type(value) is int:
        return value
    return field.get_db_prep_save(value, connection)
