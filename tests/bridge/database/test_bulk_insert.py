"""Bulk inserts."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils.timezone import now

from project.accounts.models import User
from project.bridge.database.bulk_insert import bulk_insert


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
