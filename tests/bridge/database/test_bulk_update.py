"""Bulk updates."""

from datetime import UTC, datetime

from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session

from project.api_keys.models import ApiKey
from project.bridge.database.bulk_update import bulk_update

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_stores_the_fields_of_each_row_and_no_others(db: None) -> None:
    keys = [ApiKey.objects.create(name=name, prefix=name, scopes=[]) for name in ("one", "two", "three")]
    for number, key in enumerate(keys[:2]):
        key.scopes, key.expires_at, key.daily_quota, key.name = ["emails:send"], NOON, number, "changed"

    bulk_update(keys[:2], ["scopes", "expires_at", "daily_quota"])

    assert list(ApiKey.objects.order_by("pk").values_list("name", "scopes", "expires_at", "daily_quota")) == [
        ("one", ["emails:send"], NOON, 0),
        ("two", ["emails:send"], NOON, 1),
        ("three", [], None, None),
    ]


def test_stores_null(db: None) -> None:
    key = ApiKey.objects.create(name="shop", prefix="shop", scopes=[], expires_at=NOON)
    key.expires_at = None

    bulk_update([key], ["expires_at"])

    key.refresh_from_db()
    assert key.expires_at is None


def test_finds_rows_by_a_primary_key_that_is_not_a_number(db: None) -> None:
    session = Session.objects.create(session_key="one", session_data="old", expire_date=NOON)
    session.session_data = "new"

    bulk_update([session], ["session_data"])

    assert Session.objects.get().session_data == "new"


def test_makes_no_query_without_rows(db: None, django_assert_num_queries: type) -> None:
    rows: list[Group] = []

    with django_assert_num_queries(0):
        bulk_update(rows, ["name"])
