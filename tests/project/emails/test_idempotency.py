"""One mail for an idempotency key."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError

from project.bridge.database.transactions import call_in_transaction
from project.emails.idempotency import Idempotency, IdempotencyKeyReused
from project.emails.models import Email
from project.emails.receipts import SubmissionReceipt
from project.emails.submit import PreparedEmail, prepare_email, submit_batch, submit_emails
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import order

ASKED = Idempotency("42", "fingerprint")


def keyed(key: str, body: str = "body", *, caller: str = "key:1", at: datetime = NOW) -> PreparedEmail:
    """A mail that a caller sends under a key."""
    return prepare_email(replace(order(text=body), owner_id=caller, idempotency=Idempotency(key, body)), now=at)


@pytest.mark.usefixtures("lent")
def test_the_same_key_gives_the_first_answer_again() -> None:
    (first,) = submit_emails([keyed("42")])
    (second,) = submit_emails([keyed("42", at=NOW + timedelta(hours=23, minutes=59))])

    assert isinstance(first, SubmissionReceipt)
    assert second == replace(first, replayed=True)
    assert Email.objects.count() == 1


@pytest.mark.usefixtures("lent")
def test_a_batch_that_is_not_stored_leaves_its_key_free() -> None:
    mail, other = prepare_email(order(), now=NOW), prepare_email(order(), now=NOW)

    with pytest.raises(IntegrityError):
        call_in_transaction(submit_batch, [mail, mail], idempotency=ASKED)
    answers = call_in_transaction(submit_batch, [mail, other], idempotency=ASKED)

    assert [answer.replayed for answer in answers] == [False, False]


@pytest.mark.usefixtures("lent")
def test_a_batchs_key_is_free_again_after_a_day() -> None:
    first = submit_batch([prepare_email(order(), now=NOW)], idempotency=ASKED)
    within = submit_batch([prepare_email(order(), now=NOW + timedelta(hours=23))], idempotency=ASKED)
    after = submit_batch([prepare_email(order(), now=NOW + timedelta(hours=24))], idempotency=ASKED)

    assert within == [replace(first[0], replayed=True)]
    assert (after[0].replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("lent")
def test_the_same_key_twice_in_one_transaction_is_one_mail() -> None:
    first, second = submit_emails([keyed("42"), keyed("42")])

    assert isinstance(first, SubmissionReceipt)
    assert (second, Email.objects.count()) == (replace(first, replayed=True), 1)


@pytest.mark.usefixtures("lent")
def test_the_same_key_with_another_body_is_refused_and_the_first_accepted() -> None:
    first, second, third = submit_emails([keyed("42", "one"), keyed("42", "other"), keyed("43", "third")])

    assert isinstance(second, IdempotencyKeyReused)
    assert [email.text for email in Email.objects.order_by("id")] == ["one", "third"]
    assert (isinstance(first, SubmissionReceipt), isinstance(third, SubmissionReceipt)) == (True, True)


@pytest.mark.usefixtures("lent")
def test_a_key_is_forgotten_after_a_day() -> None:
    submit_emails([keyed("42", "one")])

    (again,) = submit_emails([keyed("42", "other", at=NOW + timedelta(hours=24))])

    assert isinstance(again, SubmissionReceipt)
    assert (again.replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("lent")
def test_each_caller_has_keys_of_its_own() -> None:
    answers = submit_emails([keyed("42", "one"), keyed("42", "other", caller="key:2")])

    assert [isinstance(answer, SubmissionReceipt) and answer.replayed for answer in answers] == [False, False]
    assert Email.objects.count() == 2
