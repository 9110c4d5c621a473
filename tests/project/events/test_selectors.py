"""Reads of the event log: filters, and the query plans of all their combinations."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.emails.models import Email
from project.emails.submit import prepare_email, submit_batch
from project.events.models import Event
from project.events.selectors import EventFilter, events_after
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import new_email

SHOP, CLUB = "key:1", "key:2"
QUEUED, SENT, FAILED = "email.queued", "email.sent", "email.failed"
OWNERS = {"a key": SHOP, "staff": None}
TYPES = {"all types": None, "one type": frozenset({SENT}), "two types": frozenset({SENT, FAILED}), "no types": frozenset[str]()}


@pytest.fixture
def email_ids(db: None) -> list[UUID]:
    """Store events of two emails of two owners, and return the emails' ids."""
    emails = [prepare_email(new_email(), now=NOW).email for _ in range(2)]
    submit_batch([prepare_email(new_email(), now=NOW)])
    ids = []
    for email, owner in zip(emails, (SHOP, CLUB), strict=True):
        Email(**email.columns() | {"owner": owner}).save(force_insert=True)
        ids.append(email.id)
    for event_type, (email_id, owner) in product((QUEUED, SENT, FAILED, SENT), zip(ids, (SHOP, CLUB), strict=True)):
        Event.objects.create(email_id=email_id, owner=owner, type=event_type, data={})
    return ids


@pytest.mark.parametrize("of_email", [False, True])
@pytest.mark.parametrize("types", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("owner", [None, SHOP, CLUB])
def test_returns_the_first_events_that_pass_the_filter(
    email_ids: list[UUID], owner: str | None, types: frozenset[str] | None, of_email: bool
) -> None:
    event_filter = EventFilter(owner, types, email_ids[0] if of_email else None)
    expected = [event.pk for event in Event.objects.order_by("id") if event_filter.matches(event)]

    pages = [events_after(after, event_filter=event_filter, limit=2) for after in (0, *expected)]

    assert [[event.pk for event in page] for page in pages] == [expected[start : start + 2] for start in range(len(expected) + 1)]


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.parametrize("of_email", [False, True], ids=["all emails", "one email"])
@pytest.mark.parametrize("types", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_every_combination_of_filters_is_read_along_an_index(
    email_ids: list[UUID], owner: str | None, types: frozenset[str] | None, of_email: bool
) -> None:
    event_filter = EventFilter(owner, types, email_ids[0] if of_email else None)

    with CaptureQueriesContext(connection) as queries:
        events_after(1, event_filter=event_filter, limit=2)
    with connection.cursor() as cursor:
        plans = ["\n".join(_explain(cursor, query["sql"])) for query in queries if " WHERE " in query["sql"]]

    allowed = _allowed_index(owner, types, of_email=of_email)
    assert plans or types == frozenset()
    assert [plan for plan in plans if "TEMP B-TREE" in plan or not any(index in plan for index in allowed)] == []


def _allowed_index(owner: str | None, types: frozenset[str] | None, *, of_email: bool) -> list[str]:
    """Return the index of the query, and the access by ids of the events that it found."""
    if of_email:
        return ["(email_id=? AND rowid>?"]
    if types is None:
        return ["event_owner (owner=? AND id>?" if owner else "INTEGER PRIMARY KEY (rowid>?"]
    if owner:
        return ["event_owner_type (owner=? AND type=? AND id>?", "event_owner (owner=? AND id=? AND rowid>?"]
    return ["event_type (type=? AND id>?", "INTEGER PRIMARY KEY (rowid=?"]


def _explain(cursor: Any, sql: str) -> Iterator[str]:
    cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
    yield from (str(row[-1]) for row in cursor.fetchall())
