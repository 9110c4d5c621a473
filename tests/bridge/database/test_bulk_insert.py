"""Bulk inserts. The tests of PostgreSQL's texts of statements run in a process of their own, with a real server."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils.timezone import now

from project.accounts.models import User
from project.bridge.database.bulk_insert import bulk_insert, bulk_insert_all
from tests.postgresql import cluster, program
from tests.processes import ROOT

ON_POSTGRESQL = r"""
import django
django.setup()
from datetime import UTC, datetime
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import DataError, connection, transaction
from project.bridge.database import bulk_insert

queries = []
def record(execute, sql, params, many, context):
    queries.append(sql)
    return execute(sql, params, many, context)

texts = ["50 % of 'x'; DROP TABLE y --", "\\ %s \\'", "ünï\N{SNOWMAN}", "x" * 3000, "y" * 3000]
sessions = [{"session_key": str(n), "session_data": text, "expire_date": datetime.now(UTC)} for n, text in enumerate(texts)]
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE auth_group (id serial PRIMARY KEY, name text)")
    cursor.execute("CREATE TABLE django_session (session_key text PRIMARY KEY, session_data text, expire_date timestamptz)")
with connection.execute_wrapper(record):
    bulk_insert.bulk_insert_all([(Group, [{"name": "one"}, {"name": "two"}]), (Session, sessions)], first="SELECT 1")
    bulk_insert.MAX_QUERY_BYTES = 5000
    bulk_insert.bulk_insert_all([(Session, [row | {"session_key": f"again {row['session_key']}"} for row in sessions])])
    try:
        with transaction.atomic():
            bulk_insert.bulk_insert(Session, [{**sessions[0], "session_data": "NUL \0"}])
    except DataError:
        print("DataError")
print(len(queries), Group.objects.count())
stored = dict(Session.objects.values_list("session_key", "session_data"))
print(all(stored[str(n)] == stored[f"again {n}"] == text for n, text in enumerate(texts)), len(stored))
"""


def test_inserts_rows_with_ids_from_the_database(db: None) -> None:
    bulk_insert(Group, [{"name": "readers"}, {"name": "writers"}])

    ids, names = zip(*Group.objects.order_by("pk").values_list("pk", "name"), strict=True)
    assert names == ("readers", "writers")
    assert len(set(ids)) == 2


def test_stores_values_as_the_model_does(db: None) -> None:
    expire_date = datetime(2026, 12, 1, 9, tzinfo=UTC)

    bulk_insert(Session, [{"session_key": key, "session_data": "data", "expire_date": expire_date} for key in ("one", "two")])

    assert set(Session.objects.values_list("session_key", "session_data", "expire_date")) == {
        ("one", "data", expire_date),
        ("two", "data", expire_date),
    }


def test_stores_null_in_a_text_column(db: None) -> None:
    user = User.objects.create_user("ada")
    row = {"user_id": user.pk, "content_type_id": None, "object_repr": "", "action_flag": 1, "change_message": ""}

    bulk_insert(LogEntry, [row | {"action_time": now(), "object_id": each} for each in (None, "None")])

    assert list(LogEntry.objects.order_by("id").values_list("object_id", flat=True)) == [None, "None"]


def test_makes_no_query_without_rows(db: None, django_assert_num_queries: type) -> None:
    with django_assert_num_queries(0):
        bulk_insert(Group, [])


@pytest.mark.parametrize(
    "time",
    [
        datetime(2026, 12, 1, 9, 30, 15, 123456, tzinfo=UTC),
        datetime(2026, 12, 1, 9, tzinfo=UTC),
        datetime(2026, 12, 1, 9, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
    ids=["microseconds", "whole hour", "other time zone"],
)
def test_stores_times_as_the_model_does(db: None, time: datetime) -> None:
    bulk_insert(Session, [{"session_key": "bulk", "session_data": "", "expire_date": time}])
    Session.objects.create(session_key="model", session_data="", expire_date=time)

    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT expire_date FROM django_session")
        assert len(cursor.fetchall()) == 1


def test_stores_alternating_and_repeated_times(db: None) -> None:
    first = now()
    second = first + timedelta(seconds=1)
    times = [first, first, second, first, second, second]

    bulk_insert(Session, [{"session_key": str(n), "session_data": "", "expire_date": time} for n, time in enumerate(times)])

    assert list(Session.objects.order_by("session_key").values_list("expire_date", flat=True)) == times


def test_inserts_rows_of_several_models_after_a_statement(db: None) -> None:
    statement = "INSERT INTO auth_group (id, name) VALUES (4711, 'first')"
    session = {"session_key": "one", "session_data": "", "expire_date": now()}

    bulk_insert_all([(Group, []), (Session, [session]), (Group, [{"name": "writers"}])], first=statement)

    assert set(Group.objects.values_list("name", flat=True)) == {"first", "writers"}
    assert Session.objects.count() == 1


def test_runs_no_statement_without_rows(db: None) -> None:
    bulk_insert(Group, [], first="INSERT INTO auth_group (name) VALUES ('first')")

    assert Group.objects.count() == 0


@pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")
def test_postgresql_gets_the_rows_of_several_models_in_one_round_trip() -> None:
    with cluster() as postgresql:
        env = {**os.environ, "DATABASE_URL": postgresql.url, "DJANGO_SETTINGS_MODULE": "project.settings"}
        command = [sys.executable, "-c", ON_POSTGRESQL]
        output = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout

    error, counts, stored = output.splitlines()
    assert error == "DataError"
    assert counts == "3 2"  # one query, and two because the rows have more than 5,000 bytes
    assert stored == "True 10"
