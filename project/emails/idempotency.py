"""Idempotency keys: a repeated request gets the first response again, and no second email is sent.

A key is stored in the transaction that stores its emails, so two simultaneous requests with the same key send only one email.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from project.emails.models import IdempotencyKey
from project.emails.submission_result import SubmissionResult
from project.errors import DomainError

KEY_LIFETIME = timedelta(hours=24)


class IdempotencyKeyReused(DomainError):
    """The key was used before, with another request body."""

    code = "idempotency_key_reused"


@dataclass(frozen=True)
class Idempotency:
    """A caller's idempotency key, and the fingerprint (SHA-256) of the request body."""

    key: str
    fingerprint: str


def find_earlier_response(owner: str, idempotency: Idempotency, *, now: datetime) -> list[SubmissionResult] | None:
    """Return the results of an earlier request with this key, or None. Raises `IdempotencyKeyReused`."""
    record = IdempotencyKey.objects.filter(owner=owner, key=idempotency.key, created_at__gt=now - KEY_LIFETIME).first()
    return None if record is None else _replay(record, idempotency)


def reserve_key(
    owner: str, idempotency: Idempotency, results: list[SubmissionResult], *, now: datetime
) -> list[SubmissionResult] | None:
    """Store the key with the results of this request, and return None. For an existing key, return the results stored with it.

    Raises `IdempotencyKeyReused`.
    """
    IdempotencyKey.objects.filter(owner=owner, key=idempotency.key, created_at__lte=now - KEY_LIFETIME).delete()
    response = [result.to_json() for result in results]
    record, is_new = IdempotencyKey.objects.get_or_create(
        owner=owner,
        key=idempotency.key,
        defaults={"fingerprint": idempotency.fingerprint, "response": response, "created_at": now},
    )
    return None if is_new else _replay(record, idempotency)


def release_key(owner: str, idempotency: Idempotency) -> None:
    """Delete a key whose request was rejected after the key was reserved."""
    IdempotencyKey.objects.filter(owner=owner, key=idempotency.key).delete()


def _replay(record: IdempotencyKey, idempotency: Idempotency) -> list[SubmissionResult]:
    if record.fingerprint != idempotency.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was already used with another request body.")
    return [SubmissionResult(**result, replayed=True) for result in record.response]
