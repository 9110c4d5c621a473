"""Retention: which rows expire, and what stays."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import Settings
from uuid_utils.compat import uuid7

from project.accounts.models import LoginCounter, User, UserSession
from project.emails.ids import first_id_at
from project.emails.models import Email, IdempotencyKey, RawMessage, Recipient, SubjectWord, Tag
from project.emails.status import FINAL, Status
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.events.models import Event
from project.retention import expired_data
from project.retention.expired_data import KINDS, ExpiredData
from project.transports.models import MailboxMessage, MailboxTerm
from tests.project.transports.fake_relay import new_email

pytestmark = pytest.mark.django_db

NOW = timezone.now()
BODIES, EMAILS, MAILBOX, KEYS = KINDS[:4]


def stored(age: timedelta, **fields: Any) -> Email:
    """Return a stored email that was submitted this long ago. It is sent, unless `fields` says otherwise."""
    time = NOW - age
    prepared = prepare_email(NewEmail(new_email("ada@example.com").draft, tags={"order": "42"}), now=time)
    prepared.email.id = _id_of(time)
    submit_batch([prepared])
    Email.objects.filter(id=prepared.email.id).update(**{"status": Status.SENT, **fields})
    return Email.objects.get(id=prepared.email.id)


def _id_of(time: datetime) -> Any:
    random_bits = uuid7().int & ((1 << 80) - 1)
    return type(uuid7())(int=first_id_at(time).int | random_bits)


def delete_all(kind: ExpiredData) -> int:
    """Delete everything of a kind that has expired. Return how many rows were deleted."""
    deleted, after, first = 0, None, True
    while first or after is not None:
        batch = kind.delete_batch(now=NOW, after=after)
        deleted, after, first = deleted + batch.deleted, batch.after, False
    return deleted


def test_the_body_of_a_finished_email_goes_and_its_row_stays() -> None:
    old, new = stored(timedelta(days=31)), stored(timedelta(days=29))
    Email.objects.filter(id=old.id).update(text="from the previous version", html="<p>")

    assert (BODIES.count(now=NOW), delete_all(BODIES), BODIES.count(now=NOW)) == (1, 1, 0)

    assert list(RawMessage.objects.values_list("pk", flat=True)) == [new.id]
    old.refresh_from_db()
    assert (old.text, old.html, old.subject, Recipient.objects.filter(email=old).count()) == ("", "", "Hi", 1)


@pytest.mark.parametrize("status", sorted(set(Status) - set(FINAL)))
@pytest.mark.parametrize("kind", [BODIES, EMAILS], ids=["bodies", "emails"])
def test_an_email_that_may_still_be_sent_is_kept(kind: ExpiredData, status: Status) -> None:
    email = stored(timedelta(days=400), status=status)

    assert (kind.count(now=NOW), delete_all(kind)) == (0, 0)
    assert Email.objects.get().raw_message.pk == email.id


@pytest.mark.parametrize("field", ["scheduled_at", "retried_at"])
def test_the_period_begins_when_the_email_was_last_due(field: str) -> None:
    stored(timedelta(days=40), **{field: NOW - timedelta(days=29)})
    expired = stored(timedelta(days=40), **{field: NOW - timedelta(days=31)})

    assert BODIES.select(NOW - timedelta(days=30)).get().pk == expired.id
    assert delete_all(BODIES) == 1


def test_an_email_goes_with_everything_that_belongs_to_it() -> None:
    old = stored(timedelta(days=366))
    copy = stored(timedelta(days=1), resent_from=old)

    assert delete_all(EMAILS) == 1

    copy.refresh_from_db()
    assert copy.resent_from_id is None
    rows = [RawMessage, Recipient, Tag, SubjectWord, Event]
    assert [set(model._default_manager.values_list("email_id", flat=True)) for model in rows] == [{copy.id}] * len(rows)


def test_batches_are_limited_and_pass_rows_that_must_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expired_data, "BATCH_SIZE", 2)
    waiting = [stored(timedelta(days=500 - number), status=Status.DELAYED) for number in range(3)]
    for number in range(5):
        stored(timedelta(days=400 - number))

    assert (BODIES.delete_batch(now=NOW, after=None).deleted, delete_all(BODIES), delete_all(EMAILS)) == (0, 5, 5)
    assert set(Email.objects.values_list("pk", flat=True)) == {email.id for email in waiting}


def test_a_batch_of_bodies_has_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expired_data, "MAX_BATCH_BYTES", 1)
    for _ in range(2):
        stored(timedelta(days=31))

    assert BODIES.delete_batch(now=NOW, after=None).deleted == 1  # always at least one
    assert delete_all(BODIES) == 1


def test_messages_of_the_mailbox_expire() -> None:
    for age in (31, 29):
        message = MailboxMessage.objects.create(recipients=[], source=b"", subject=str(age))
        MailboxMessage.objects.filter(pk=message.pk).update(received_at=NOW - timedelta(days=age))
        MailboxTerm.objects.create(term="hello", message=message)

    assert (MAILBOX.count(now=NOW), delete_all(MAILBOX)) == (1, 1)
    assert MailboxMessage.objects.get().subject == "29"
    assert MailboxTerm.objects.count() == 1


def test_idempotency_keys_expire_after_a_day() -> None:
    for hours in (25, 23):
        IdempotencyKey.objects.create(key=str(hours), response=[], created_at=NOW - timedelta(hours=hours))

    assert (KEYS.count(now=NOW), delete_all(KEYS), IdempotencyKey.objects.get().key) == (1, 1, "23")


def test_sessions_and_login_counters_expire() -> None:
    user = User.objects.create_user("ada")
    for name, age in (("old", 31), ("new", 0)):
        Session.objects.create(session_key=name, session_data="", expire_date=NOW - timedelta(days=age))
        UserSession.objects.create(session_key=name, user=user, created_at=NOW, last_seen_at=NOW - timedelta(days=age))
        LoginCounter.objects.create(key=name, attempted_at=NOW, expires_at=NOW - timedelta(days=age))

    assert sum(delete_all(kind) for kind in KINDS[5:]) == 3
    assert {Session.objects.get().session_key, UserSession.objects.get().session_key, LoginCounter.objects.get().key} == {"new"}


@pytest.mark.parametrize(("name", "kind"), [("KEEP_BODIES", BODIES), ("KEEP_EMAILS", EMAILS), ("KEEP_MAILBOX", MAILBOX)])
def test_without_a_period_data_is_kept_forever(name: str, kind: ExpiredData, settings: Settings) -> None:
    setattr(settings, name, timedelta())
    stored(timedelta(days=3650))
    message = MailboxMessage.objects.create(recipients=[], source=b"")
    MailboxMessage.objects.filter(pk=message.pk).update(received_at=NOW - timedelta(days=3650))

    assert (kind.count(now=NOW), delete_all(kind)) == (0, 0)


@pytest.mark.parametrize(("name", "kind"), [("KEEP_BODIES", BODIES), ("KEEP_EMAILS", EMAILS)])
def test_a_period_may_begin_before_1970(name: str, kind: ExpiredData, settings: Settings) -> None:
    setattr(settings, name, timedelta(days=36_500))
    stored(timedelta(days=400))

    assert (kind.count(now=NOW), delete_all(kind)) == (0, 0)
