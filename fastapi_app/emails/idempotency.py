"""Idempotency of requests that send emails: the header, and the fingerprint of the body."""

from hashlib import sha256
from typing import Annotated, Any

from fastapi import Header

from fastapi_app.emails.schemas import EmailBatch, EmailIn
from project.bridge.database.transactions import run_in_thread
from project.emails.idempotency import Idempotency, fingerprint_of

NEW_FIELDS = {"priority"}
MAX_INLINE_LENGTH = 64 * 1024  # characters; hashing a shorter email takes less time than passing it to a thread

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Unique key of this request. "
        "A retry with the same key and body within 24 hours returns the first response and sends no second email.",
        pattern=r"^[\x20-\x7e]{1,255}$",
        examples=["order-42"],
    ),
]


async def read_idempotency(key: str | None, body: EmailIn | EmailBatch) -> Idempotency | None:
    """Return the key with the fingerprint of the body, or None without a key."""
    if key is None:
        return None
    is_short = isinstance(body, EmailIn) and _is_short(body)
    fingerprint = _fingerprint(body) if is_short else await run_in_thread(_fingerprint, body)
    return Idempotency(key, fingerprint, lambda: _earlier_fingerprint(body))


def _earlier_fingerprint(body: EmailIn | EmailBatch) -> str:
    """Return the fingerprint that an earlier version stored. It did not know priorities."""
    new_fields: Any = {"emails": {"__all__": NEW_FIELDS}} if isinstance(body, EmailBatch) else NEW_FIELDS
    return sha256(body.model_dump_json(exclude=new_fields).encode()).hexdigest()


def _fingerprint(body: EmailIn | EmailBatch) -> str:
    """Return the fingerprint of the validated values, so that an address alone and in a list, for example, are the same."""
    emails = body.emails if isinstance(body, EmailBatch) else [body]
    sent = (email.model_dump(mode="json", by_alias=True, exclude_unset=True) for email in emails)
    return fingerprint_of(sent, is_batch=isinstance(body, EmailBatch))


def _is_short(email: EmailIn) -> bool:
    parts = len(email.text or "") + len(email.html or "")
    return not email.attachments and not email.variables and parts < MAX_INLINE_LENGTH
