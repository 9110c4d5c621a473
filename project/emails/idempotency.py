"""Idempotency keys: a repeated request gets the first response again, and no second email is sent.

A key is stored in the transaction that stores its emails, so two simultaneous requests with the same key send only one email.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from project.emails.mime.pieces import PIECE_LENGTH, pieces
from project.emails.models import IdempotencyKey
from project.emails.submission_result import SubmissionResult
from project.errors import DomainError

KEY_LIFETIME = timedelta(hours=24)
FINGERPRINT_PREFIX = "v2:"  # marks the present form of fingerprints
FINGERPRINT_LENGTH = 64  # characters of the column


class IdempotencyKeyReused(DomainError):
    """The key was used before, with another request body."""

    code = "idempotency_key_reused"


@dataclass(frozen=True)
class Idempotency:
    """A caller's idempotency key, and the fingerprint of the request body.

    `previous_fingerprint` returns the fingerprint of the same body in the form that version 0.1.0 stored.
    """

    key: str
    fingerprint: str
    previous_fingerprint: Callable[[], str] | None = field(default=None, compare=False)

    def matches(self, stored: str) -> bool:
        """Return whether a stored fingerprint is of the same body."""
        if stored.startswith(FINGERPRINT_PREFIX) or self.previous_fingerprint is None:
            return stored == self.fingerprint
        return stored == self.previous_fingerprint()  # a retry across an upgrade


def fingerprint_of(emails: Iterable[Mapping[str, Any]], *, is_batch: bool) -> str:
    """Return the fingerprint of the emails of a request: a hash of their canonical JSON.

    The emails must contain only the fields that the client sent, without defaults. So a version with more fields recognizes a
    retry. The order of names and the spelling of numbers do not matter, and an empty list or object is the same as none.
    """
    digest = sha256(b"batch" if is_batch else b"email")
    for email in emails:  # one by one, so that other threads can run
        given = {name: value for name, value in email.items() if value not in ([], {})}
        for text in _canonical_json(given):
            digest.update(text.encode())
    return f"{FINGERPRINT_PREFIX}{digest.hexdigest()}"[:FINGERPRINT_LENGTH]


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


def _canonical_json(value: Any) -> Iterator[str]:
    """Yield the JSON of a value in pieces: sorted names, no white space, whole numbers as integers (as RFC 8785 writes them)."""
    if isinstance(value, Mapping):
        yield "{"
        for number, name in enumerate(sorted(value)):
            yield f"{',' if number else ''}{json.dumps(name)}:"
            yield from _canonical_json(value[name])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, each in enumerate(value):
            yield "," if number else ""
            yield from _canonical_json(each)
        yield "]"
    elif isinstance(value, str) and len(value) > PIECE_LENGTH:
        yield '"'
        yield from (json.dumps(piece)[1:-1] for piece in pieces(value))
        yield '"'
    else:
        yield json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _replay(record: IdempotencyKey, idempotency: Idempotency) -> list[SubmissionResult]:
    if not idempotency.matches(record.fingerprint):
        raise IdempotencyKeyReused("This Idempotency-Key was already used with another request body.")
    return [SubmissionResult(**result, replayed=True) for result in record.response]
