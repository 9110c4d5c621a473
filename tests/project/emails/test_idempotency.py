"""Idempotency keys: a key creates only one email, and a repeated request returns the first result."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from django.db import IntegrityError

from project.bridge.database.transactions import call_in_transaction
from project.emails.idempotency import Idempotency, IdempotencyKeyReused, fingerprint_of
from project.emails.mime.pieces import PIECE_LENGTH
from project.emails.models import Email
from project.emails.submission_result import SubmissionResult
from project.emails.submit import PreparedEmail, prepare_email, submit_batch, submit_emails
from project.transports.raw_message import text_of
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import new_email

BATCH_KEY = Idempotency("42", "fingerprint")


def with_key(key: str, body: str = "body", *, owner: str = "key:1", at: datetime = NOW) -> PreparedEmail:
    """Return an email that an owner submits with an idempotency key."""
    return prepare_email(replace(new_email(text=body), owner_id=owner, idempotency=Idempotency(key, body)), now=at)


@pytest.mark.usefixtures("shared_test_connection")
def test_the_same_key_returns_the_first_result_again() -> None:
    (first,) = submit_emails([with_key("42")])
    (second,) = submit_emails([with_key("42", at=NOW + timedelta(hours=23, minutes=59))])

    assert isinstance(first, SubmissionResult)
    assert second == replace(first, replayed=True)
    assert Email.objects.count() == 1


@pytest.mark.usefixtures("shared_test_connection")
def test_a_batch_that_fails_does_not_use_up_its_key() -> None:
    email, other = prepare_email(new_email(), now=NOW), prepare_email(new_email(), now=NOW)

    with pytest.raises(IntegrityError):
        call_in_transaction(submit_batch, [email, email], idempotency=BATCH_KEY)
    results = call_in_transaction(submit_batch, [email, other], idempotency=BATCH_KEY)

    assert [result.replayed for result in results] == [False, False]


@pytest.mark.usefixtures("shared_test_connection")
def test_the_key_of_a_batch_expires_after_a_day() -> None:
    first = submit_batch([prepare_email(new_email(), now=NOW)], idempotency=BATCH_KEY)
    within = submit_batch([prepare_email(new_email(), now=NOW + timedelta(hours=23))], idempotency=BATCH_KEY)
    after = submit_batch([prepare_email(new_email(), now=NOW + timedelta(hours=24))], idempotency=BATCH_KEY)

    assert within == [replace(first[0], replayed=True)]
    assert (after[0].replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("shared_test_connection")
def test_the_same_key_twice_in_one_transaction_is_one_email() -> None:
    first, second = submit_emails([with_key("42"), with_key("42")])

    assert isinstance(first, SubmissionResult)
    assert (second, Email.objects.count()) == (replace(first, replayed=True), 1)


@pytest.mark.usefixtures("shared_test_connection")
def test_rejects_the_same_key_with_another_body() -> None:
    first, second, third = submit_emails([with_key("42", "one"), with_key("42", "other"), with_key("43", "third")])

    assert isinstance(second, IdempotencyKeyReused)
    assert [text_of(bytes(email.raw_message.content)) for email in Email.objects.order_by("id")] == ["one", "third"]
    assert (isinstance(first, SubmissionResult), isinstance(third, SubmissionResult)) == (True, True)


@pytest.mark.usefixtures("shared_test_connection")
def test_a_key_expires_after_a_day() -> None:
    submit_emails([with_key("42", "one")])

    (again,) = submit_emails([with_key("42", "other", at=NOW + timedelta(hours=24))])

    assert isinstance(again, SubmissionResult)
    assert (again.replayed, Email.objects.count()) == (False, 2)


@pytest.mark.usefixtures("shared_test_connection")
def test_owners_can_use_the_same_key() -> None:
    results = submit_emails([with_key("42", "one"), with_key("42", "other", owner="key:2")])

    assert [isinstance(result, SubmissionResult) and result.replayed for result in results] == [False, False]
    assert Email.objects.count() == 2


@pytest.mark.parametrize("text", ["", "a", 'ж"\\😀\n', "😀" * (PIECE_LENGTH + 1), "ж\n" * PIECE_LENGTH])
def test_a_fingerprint_is_the_hash_of_the_canonical_json(text: str) -> None:
    email = {"text": text, "variables": {"z": [1.0, 1.5, None, True, {}], "a": text, "empty": []}, "cc": [], "tags": {}}
    canonical = {"text": text, "variables": {"z": [1, 1.5, None, True, {}], "a": text, "empty": []}}

    assert fingerprint_of([email, email], is_batch=True) == _hash(canonical, canonical)


def _hash(*emails: dict[str, Any]) -> str:
    """Return the fingerprint in the form that the database of an earlier version may contain."""
    digest = sha256(b"batch")
    for email in emails:
        digest.update(json.dumps(email, sort_keys=True, separators=(",", ":")).encode())
    return f"v2:{digest.hexdigest()}"[:64]
