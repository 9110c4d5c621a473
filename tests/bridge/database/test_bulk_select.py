"""Loading many rows by their primary keys."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session

from project.bridge.database.bulk_select import bulk_select
from project.emails.models import Email, RawMessage

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
UNSET = {"recipients": ["ada@example.com"]}
SET = {
    "recipients": ["ada@example.com", "bob@example.com"],
    "to": [],
    "tags": {"order": "42"},
    "subject": "Grüße {}",
    "recipient_results": {"ada@example.com": {"status": "sent"}},
    "attempts": 3,
    "crashes": 0,
    "reason": "null",
    "relay": "",
    "created_at": NOON,
    "sent_at": NOON + timedelta(microseconds=1),
    "scheduled_at": NOON.astimezone(timezone(timedelta(hours=5))),
}


def all_fields(model: type[Email | RawMessage]) -> tuple[str, ...]:
    return tuple(field.name for field in model._meta.concrete_fields)


@pytest.mark.parametrize("fields", [UNSET, SET], ids=["unset", "set"])
def test_loads_values_as_django_does(db: None, fields: dict[str, object]) -> None:
    email = Email.objects.create(**fields)

    [loaded] = bulk_select(Email, all_fields(Email), [email.pk])

    expected = Email.objects.get()
    for field in Email._meta.concrete_fields:
        value = getattr(loaded, field.attname)
        assert (value, type(value)) == (getattr(expected, field.attname), type(getattr(expected, field.attname))), field.name


def test_loads_bytes_by_a_foreign_key(db: None) -> None:
    message = RawMessage.objects.create(email=Email.objects.create(**UNSET), content=b"\0\xff{}")

    [loaded] = bulk_select(RawMessage, all_fields(RawMessage), [message.pk])

    assert (bytes(loaded.content), loaded.email_id) == (b"\0\xff{}", message.pk)


def test_loads_rows_in_the_order_of_their_keys_and_leaves_out_missing_ones(db: None) -> None:
    one, two, three = (Group.objects.create(name=name) for name in ("one", "two", "three"))
    three.delete()

    assert [group.name for group in bulk_select(Group, ("name", "id"), [two.pk, one.pk, two.pk + 1])] == ["one", "two"]


def test_finds_rows_by_a_key_that_is_text(db: None) -> None:
    Session.objects.create(session_key="one", session_data="data", expire_date=NOON)

    [session] = bulk_select(Session, ("session_key", "expire_date"), ["one"])

    assert (session.pk, session.expire_date) == ("one", NOON)


def test_loads_other_fields_when_they_are_used(db: None, django_assert_num_queries: type) -> None:
    Email.objects.create(subject="Hello", **UNSET)

    [email] = bulk_select(Email, ("id",), [Email.objects.values_list("id", flat=True).get()])

    with django_assert_num_queries(1):
        assert email.subject == "Hello"


def test_an_instance_can_be_saved(db: None) -> None:
    email = Email.objects.create(subject="Hello", attempts=1, **UNSET)
    [loaded] = bulk_select(Email, ("id", "attempts"), [email.pk])

    loaded.attempts = 2
    loaded.save()

    assert list(Email.objects.values_list("subject", "attempts")) == [("Hello", 2)]


def test_the_instances_share_no_values(db: None) -> None:
    emails = [Email.objects.create(**UNSET) for _ in range(2)]

    one, two = bulk_select(Email, ("id", "tags"), [email.pk for email in emails])
    one.tags["order"] = "42"

    assert two.tags == {}


def test_makes_no_query_without_keys(db: None, django_assert_num_queries: type) -> None:
    keys: list[UUID] = []

    with django_assert_num_queries(0):
        assert bulk_select(Email, ("id",), keys) == []
