"""Words of the subjects of emails that servers of the previous version accept during a rolling upgrade."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from project.emails import word_rows
from project.emails.ids import first_id_at
from project.emails.models import Email, SubjectWord
from project.emails.search import EMAIL_SEARCH
from project.emails.submit import prepare_email, submit_batch
from project.emails.word_rows import ROLLING_UPGRADE, WordCompletion
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import new_email

MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _migrated_now() -> None:
    set_applied(word_rows.FIRST_MIGRATION, NOW - 30 * ROLLING_UPGRADE)
    set_applied(word_rows.MIGRATION, NOW)


def set_applied(name: str, time: datetime) -> None:
    """Set when a migration was applied."""
    assert MigrationRecorder(connection).migration_qs.filter(app=word_rows.APP, name=name).update(applied=time) == 1


def submit_as_the_previous_version(subject: str, *, minutes: int) -> None:
    """Submit an email some minutes after the migration, without words."""
    prepared = prepare_email(replace(new_email(), draft=replace(new_email().draft, subject=subject)), now=NOW)
    prepared.email.id = first_id_at(NOW + minutes * MINUTE)
    submit_batch([prepared])
    SubjectWord.objects.filter(email_id=prepared.email.id).delete()


def found(text: str) -> list[str]:
    """Return the subjects that the search finds."""
    return list(EMAIL_SEARCH.match(Email.objects.all(), text).order_by("id").values_list("subject", flat=True))


def test_completes_the_emails_since_the_migration() -> None:
    for subject, minutes in {"Order one": -60, "Order two": 0, "Order three": 5, "!": 6, "": 7}.items():
        submit_as_the_previous_version(subject, minutes=minutes)

    assert WordCompletion()(now=NOW + 10 * MINUTE) == 0

    assert found("order") == ["Order two", "Order three"]


def test_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_rows, "BATCH_SIZE", 2)
    for number in range(3):
        submit_as_the_previous_version(f"Order {number}", minutes=number)
    complete = WordCompletion()

    assert [complete(now=NOW + 10 * MINUTE) for _ in range(2)] == [2, 0]
    submit_as_the_previous_version("Order 3", minutes=9)
    assert complete(now=NOW + 11 * MINUTE) == 0

    assert found("order") == ["Order 0", "Order 1", "Order 2", "Order 3"]


def test_looks_for_emails_for_a_day_only() -> None:
    submit_as_the_previous_version("Order", minutes=0)

    assert WordCompletion()(now=NOW + ROLLING_UPGRADE + MINUTE) == 0

    assert found("order") == []


def test_does_not_look_for_emails_in_a_new_database() -> None:
    set_applied(word_rows.FIRST_MIGRATION, NOW - timedelta(seconds=20))
    submit_as_the_previous_version("Order", minutes=1)

    assert WordCompletion()(now=NOW + 10 * MINUTE) == 0

    assert found("order") == []
