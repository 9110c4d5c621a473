"""One mail for an idempotency key."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError

from project.bridge import database
from project.outbox.accept import (
    Accepted,
    Idempotency,
    IdempotencyKeyReused,
    Prepared,
    accept_batch,
    accept_emails,
    prepare,
)
from project.outbox.models import Email
from tests.project.conftest import NOW
from tests.project.relays import order

ASKED = Idempotency("42", "fingerprint")


def keyed(key: str, body: str = "body", *, caller: str = "key:1", at: datetime = NOW) -> Prepared:
    """A mail that a caller sends under a key."""
    return prepare(replace(order(text=body), caller_id=caller, idempotency=Idempotency(key, body)), now=at)


@pytest.mark.usefixtures("lent")
def test_the_same_key_gives_the_first_answer_again() -> None:
    (first,) = accept_emails([keyed("42")])
    (second,) = accept_emails([keyed("42", at=NOW + timedelta(hours=23, minutes=59))])

    assert isinstance(first, Accepted)
    assert second == replace(first, replayed=True)
    assert Email.objects.count() == 1


@pytest.mark.usefixtures("lent")
def test_a_batch_that_is_not_stored_leaves_its_key_free() -> None:
    mail, other = prepare(order(), now=NOW), prepare(order(), now=NOW)

    with pytest.raises(IntegrityError):
        database.call(accept_batch, [mail, mail], asked=ASKED)
    answers = database.call(accept_batch, [mail, other], asked=ASKED)

    assert [answer.replayed for answer in answers] == [False, False]


@pytest.mark.usefixtures("lent")
def test_a_batchs_key_is_free_again_after_a_day() -> None:
    first = accept_batch([prepare(order(), now=NOW)], asked=ASKED)
    within = accept_batch([prepare(order(), now=NOW + timedelta(hours=23))], asked=ASKED)
    after = accept_batch([prepare(order(), now=NOW + timedelta(hours=24))], asked=ASKED)

    assert within == [replace(first[0], replayed=True)]
    assert (after[0].replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("lent")
def test_the_same_key_twice_in_one_transaction_is_one_mail() -> None:
    first, second = accept_emails([keyed("42"), keyed("42")])

    assert isinstance(first, Accepted)
    assert (second, Email.objects.count()) == (replace(first, replayed=True), 1)


@pytest.mark.usefixtures("lent")
def test_the_same_key_with_another_body_is_refused_and_the_first_accepted() -> None:
    first, second, third = accept_emails([keyed("42", "one"), keyed("42", "other"), keyed("43", "third")])

    assert isinstance(second, IdempotencyKeyReused)
    assert [email.text for email in Email.objects.order_by("id")] == ["one", "third"]
    assert (isinstance(first, Accepted), isinstance(third, Accepted)) == (True, True)


@pytest.mark.usefixtures("lent")
def test_a_key_is_forgotten_after_a_day() -> None:
    accept_emails([keyed("42", "one")])

    (again,) = accept_emails([keyed("42", "other", at=NOW + timedelta(hours=24))])

    assert isinstance(again, Accepted)
    assert (again.replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("lent")
def test_each_caller_has_keys_of_its_own() -> None:
    answers = accept_emails([keyed("42", "one"), keyed("42", "other", caller="key:2")])

    assert [isinstance(answer, Accepted) and answer.replayed for answer in answers] == [False, False]
    assert Email.objects.count() == 2
