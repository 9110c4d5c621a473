"""The list of emails: filters, and the query plans of all their combinations. Also the search rows that it reads."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from project.auth.principal import Principal
from project.bridge.database import conditions
from project.emails.models import Email, Recipient, Tag
from project.emails.search_rows import complete_search_rows
from project.emails.selectors import EmailFilter, PageRequest, list_emails
from project.emails.status import Status
from project.emails.submit import prepare_email, submit_batch
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import new_email

SHOP, CLUB = (Principal("key", name, frozenset(), owner_id=f"key:{name}") for name in ("shop", "club"))
STAFF = Principal("session", "admin", frozenset(), owner_id="user:1", can_view_all=True)
CALLERS = {"a key": SHOP, "staff": STAFF}
ADA, BOB = "ada@example.com", "bob@example.com"
LAST = UUID(int=2**128 - 1)


def submit(*recipients: str, owner: Principal = SHOP, **tags: str) -> Email:
    """Submit an email and return it."""
    prepared = prepare_email(replace(new_email(*recipients), owner_id=owner.owner_id, tags=tags), now=NOW)
    submit_batch([prepared])
    return Email.objects.get(pk=prepared.email.id)


def found(caller: Principal = SHOP, after: UUID | None = None, limit: int = 20, **filters: Any) -> list[UUID]:
    """Return the ids of the listed emails."""
    return [email.id for email in list_emails(EmailFilter(**filters), PageRequest(after, limit), principal=caller).emails]


# Filters


@pytest.mark.parametrize("spelling", ["Ada@example.com", "ada@example.com", "ADA@EXAMPLE.COM"])
@pytest.mark.parametrize("searched", ["Ada@example.com", "ada@example.com", "aDA@Example.com"])
def test_a_search_by_recipient_ignores_case(db: None, spelling: str, searched: str) -> None:
    email, _other = submit(spelling), submit(BOB)

    assert found(to=searched) == found(STAFF, to=searched) == [email.id]


def test_a_filter_lists_only_emails_of_the_caller(db: None) -> None:
    own, other = submit(ADA, kind="receipt"), submit(ADA, owner=CLUB, kind="receipt")
    Email.objects.update(reason="550 Blocked", status=Status.FAILED)

    for filters in ({"to": ADA}, {"tag": ("kind", "receipt")}, {"status": "failed"}, {"reason": "550 Blocked"}):
        assert (found(SHOP, **filters), found(STAFF, **filters)) == ([own.id], [other.id, own.id])


@pytest.mark.parametrize("limit_of_counts", [1, 1000])
def test_filters_are_combined(db: None, monkeypatch: pytest.MonkeyPatch, limit_of_counts: int) -> None:
    """The condition with the fewest rows is read first. The result does not depend on which condition that is."""
    monkeypatch.setattr(conditions, "MAX_COUNTED_ROWS", limit_of_counts)
    emails = [submit(address, kind=kind) for address, kind in product((ADA, BOB), ("receipt", "reminder")) for _ in range(3)]
    Email.objects.filter(id__in=[email.id for email in emails[::3]]).update(status=Status.FAILED, reason="550 Blocked")

    assert found(to=ADA, tag=("kind", "reminder")) == [email.id for email in emails[5:2:-1]]
    assert found(to=ADA, tag=("kind", "reminder"), status="failed") == [emails[3].id]
    assert found(to=ADA, tag=("kind", "reminder"), status="failed", reason="550 Blocked") == [emails[3].id]
    assert found(status="failed", to=BOB) == [emails[9].id, emails[6].id]
    assert found(status="sent", to=BOB) == []


def pages(caller: Principal = SHOP, limit: int = 2, **filters: Any) -> list[list[UUID]]:
    """Return the ids of all pages."""
    pages, after = list[list[UUID]](), None
    while not pages or after is not None:
        page = list_emails(EmailFilter(**filters), PageRequest(after, limit), principal=caller)
        pages.append([email.id for email in page.emails])
        after = page.next
    return pages


def test_pages_of_a_search_follow_each_other(db: None) -> None:
    fifth, fourth, third, second, first = (submit(ADA, kind="receipt").id for _ in range(5))

    assert pages(to=ADA, tag=("kind", "receipt")) == [[first, second], [third, fourth], [fifth]]


@pytest.mark.parametrize(
    ("caller", "filters"),
    [
        (SHOP, {"to": ADA, "tag": ("kind", "receipt")}),
        (SHOP, {"to": ADA, "status": "failed"}),
        (STAFF, {"to": ADA, "tag": ("kind", "receipt")}),
        (STAFF, {"status": "sent"}),
        (STAFF, {"status": "sent", "to": ADA}),
    ],
)
def test_filters_that_match_few_emails_together_check_a_limited_number_of_rows_for_a_page(
    db: None, monkeypatch: pytest.MonkeyPatch, caller: Principal, filters: dict[str, Any]
) -> None:
    """Each filter matches many emails, and only the oldest and one in the middle match all filters."""
    monkeypatch.setattr(conditions, "FIRST_CHECKED_ROWS", 2)
    monkeypatch.setattr(conditions, "MAX_CHECKED_ROWS", 4)
    monkeypatch.setattr(conditions, "MAX_COUNTED_ROWS", 1)
    matching = [_submit_and_set(ADA, "receipt", filters.get("status", "sent"))]
    others = [_submit_and_set(*each) for each in [(ADA, "reminder", "queued"), (BOB, "receipt", "failed")] * 5]
    matching.append(_submit_and_set(ADA, "receipt", filters.get("status", "sent")))
    others += [_submit_and_set(*each) for each in [(ADA, "reminder", "queued"), (BOB, "receipt", "failed")] * 5]

    found = pages(caller, **filters)

    assert [email_id for page in found for email_id in page] == matching[::-1]
    assert [] in found
    assert len(found) <= len(matching + others) // 4 + 2


def _submit_and_set(address: str, kind: str, status: str) -> UUID:
    email = submit(address, kind=kind)
    Email.objects.filter(id=email.id).update(status=status)
    return email.id


def test_a_caller_without_an_owner_id_finds_nothing(db: None) -> None:
    submit(ADA, owner=replace(SHOP, owner_id=""))

    assert found(replace(SHOP, owner_id="")) == []


# Query plans


FILTERS: dict[str, Any] = {"to": ADA, "tag": ("kind", "receipt"), "status": Status.FAILED, "reason": "550 Blocked"}
COMBINATIONS = [
    {name: value for (name, value), chosen in zip(FILTERS.items(), flags, strict=True) if chosen}
    for flags in product((False, True), repeat=len(FILTERS))
]
OWNER_INDEXES = {
    "to": "recipient_owner_address (owner=? AND address=?",
    "tag": "tag_owner_key_value (owner=? AND key=? AND value=?",
    "status": "email_owner_status (owner=? AND status=?",
    "reason": "email_owner_reason (owner=? AND reason=?",
}
STAFF_INDEXES = {
    "to": "emails_recipient_1 (address=?",
    "tag": "emails_tag_1 (key=? AND value=?",
    "status": "email_failed",
    "reason": "email_reason (reason=?",
}


@pytest.fixture
def plans(db: None) -> Callable[..., list[str]]:
    """Return a function that lists emails and returns the lines of the plans of all queries."""

    def plans(caller: Principal, filters: dict[str, Any], after: UUID | None) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            found(caller, after=after, **filters)
        with connection.cursor() as cursor:
            return [line for query in queries for line in _explain(cursor, query["sql"])]

    return plans


def _explain(cursor: Any, sql: str) -> Iterator[str]:
    cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
    yield from (str(row[-1]) for row in cursor.fetchall())


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.parametrize("after", [None, LAST], ids=["first page", "next page"])
@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize("filters", COMBINATIONS, ids=lambda filters: "+".join(filters) or "none")
def test_every_combination_of_filters_is_read_along_an_index(
    plans: Callable[..., list[str]], filters: dict[str, Any], caller: Principal, after: UUID | None
) -> None:
    submit(ADA, kind="receipt")
    Email.objects.update(reason="550 Blocked", status=Status.FAILED)

    lines = plans(caller, filters, after)

    indexes = STAFF_INDEXES if caller is STAFF else OWNER_INDEXES
    drivers = [indexes[name] for name in filters] or ["emails_email_1" if caller is STAFF else "email_owner (owner=?"]
    scans = [line for line in lines if line.startswith("SCAN") and line != "SCAN subquery"]
    assert "TEMP B-TREE" not in "".join(lines)
    assert all(caller is STAFF and line.endswith(("email_failed", "emails_email_1")) for line in scans)
    assert all(any(driver in line for line in lines) for driver in drivers)
    if after is not None:  # the page before is skipped within the index
        assert any("id<?" in line for line in lines)


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
def test_the_condition_with_the_fewest_rows_is_read_first(plans: Callable[..., list[str]]) -> None:
    for _ in range(3):
        submit(ADA, kind="reminder")
    submit(ADA, kind="receipt")
    submit(BOB, kind="receipt")

    lines = plans(SHOP, {"to": ADA, "tag": ("kind", "receipt")}, None)

    assert "tag_owner_key_value" in lines[lines.index("CORRELATED SCALAR SUBQUERY 1") - 1]


# Rows of the previous version


def as_the_previous_version(email: Email) -> None:
    """Rewrite an email's search rows as the previous version stores them."""
    Recipient.objects.filter(email=email).delete()
    Recipient.objects.bulk_create(Recipient(address=address, email=email) for address in email.recipients)
    Tag.objects.filter(email=email).update(owner=None)


def test_completes_the_rows_of_the_previous_version(db: None) -> None:
    emails = [submit("Ada@example.com", BOB, kind="receipt"), submit(ADA, owner=CLUB)]
    for email in emails:
        as_the_previous_version(email)
    assert found(to=ADA) == []

    assert complete_search_rows() == 4
    assert complete_search_rows() == 0

    assert (found(to=ADA), found(to=BOB), found(tag=("kind", "receipt"))) == ([emails[0].id],) * 3
    assert found(CLUB, to=ADA) == [emails[1].id]


def test_completes_an_email_that_has_an_address_in_two_spellings(db: None) -> None:
    email = submit(ADA)
    Recipient.objects.create(address="Ada@example.com", email=email)
    Recipient.objects.create(address="ADA@example.com", email=email)

    while complete_search_rows():
        pass

    assert list(Recipient.objects.values_list("address", "owner")) == [(ADA, SHOP.owner_id)]


def test_completes_a_limited_number_of_rows_at_a_time(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.emails.search_rows.BATCH_SIZE", 2)
    for _ in range(3):
        as_the_previous_version(submit(ADA))

    assert [complete_search_rows() for _ in range(3)] == [2, 1, 0]
