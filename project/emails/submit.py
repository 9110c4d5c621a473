"""Submission of emails: stores each email in one transaction with the message bytes that will be sent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.api_keys.quota import QuotaExceeded, consume_quota
from project.bridge.database.bulk_insert import bulk_insert_all
from project.bridge.middleware.request_id import current_request_id
from project.config.displayed_text import remove_misleading_characters
from project.emails.email_row import EmailRow
from project.emails.idempotency import Idempotency, IdempotencyKeyReused, release_key, reserve_key
from project.emails.mime.builder import MAX_MESSAGE_ID_LENGTH, Draft, build_message, envelope_recipients
from project.emails.mime.headers import addr_spec
from project.emails.models import Email, RawMessage, Recipient, SubjectWord, Tag
from project.emails.priority import Priority
from project.emails.status import Status
from project.emails.subject_words import split_words
from project.emails.submission_result import SubmissionResult
from project.errors import DomainError
from project.events.log import append_events, build_event, urgent_email_queued
from project.metrics.counters import count_accepted
from project.metrics.spans import current_trace_parent

MAX_MESSAGE_BYTES = 25 * 1024 * 1024  # of an encoded message; Gmail and many relays accept no more
MAX_BATCH_BYTES = 128 * 1024 * 1024  # of all encoded messages of a batch
MAX_DERIVED_SUBJECT_LENGTH = 78  # characters; RFC 5322 section 2.1.1 recommends lines no longer than this


class EmailTooLarge(DomainError):
    """The encoded message, or all encoded messages of a batch, are larger than the maximum."""

    code = "email_too_large"


@dataclass(frozen=True)
class NewEmail:
    """An email to submit: its content, its owner, its priority and the time to send it."""

    draft: Draft
    owner_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    template_id: int | None = None  # the template version that the draft was rendered from
    scheduled_at: datetime | None = None
    priority: Priority = Priority.NORMAL
    idempotency: Idempotency | None = None
    quota_key: int | None = None  # primary key of the API key whose daily quota this email counts against


@dataclass(frozen=True)
class PreparedEmail:
    """An email whose row and MIME bytes are built, but not stored yet."""

    email: EmailRow
    content: bytes
    idempotency: Idempotency | None
    quota_key: int | None = None

    @property
    def size(self) -> int:
        """Return the bytes of the message."""
        return len(self.content)


def prepare_email(new_email: NewEmail, *, now: datetime) -> PreparedEmail:
    """Build the row and the MIME bytes. Needs no database, so the slow work can be done before the transaction.

    Raises `EmailTooLarge`.
    """
    draft, email_id = new_email.draft, uuid7()
    is_scheduled = new_email.scheduled_at is not None and new_email.scheduled_at > now
    email = EmailRow(
        id=email_id,
        owner=new_email.owner_id,
        created_at=now,
        status=Status.SCHEDULED if is_scheduled else Status.QUEUED,
        priority=new_email.priority,
        sender=draft.sender,
        to=list(draft.to),
        cc=list(draft.cc),
        bcc=list(draft.bcc),
        reply_to=list(draft.reply_to),
        recipients=envelope_recipients(draft),
        subject=draft.subject,
        tags=new_email.tags,
        template_id=new_email.template_id,
        message_id=message_id_for(email_id, draft.sender),
        request_id=current_request_id(),
        trace_parent=current_trace_parent(),
        scheduled_at=new_email.scheduled_at,
        next_attempt_at=new_email.scheduled_at if is_scheduled else None,
    )
    date = email.next_attempt_at or now  # never in the past
    content = build_message(draft, message_id=email.message_id, date=date)
    if len(content) > MAX_MESSAGE_BYTES:
        raise EmailTooLarge(f"The encoded email has more than {MAX_MESSAGE_BYTES} bytes.")
    return PreparedEmail(email, content, new_email.idempotency, new_email.quota_key)


def submit_emails(prepared: Sequence[PreparedEmail]) -> list[SubmissionResult | Exception]:
    """Store emails, which may belong to different owners. A repeated request (same idempotency key) stores no second email.

    Return for each email its result, or its error: `IdempotencyKeyReused` or `QuotaExceeded`.
    """
    results = [_reserve_key_and_quota(each) for each in prepared]
    pairs = zip(prepared, results, strict=True)
    _store([each for each, result in pairs if isinstance(result, SubmissionResult) and not result.replayed])
    return results


def submit_batch(prepared: Sequence[PreparedEmail], *, idempotency: Idempotency | None = None) -> list[SubmissionResult]:
    """Store emails of one caller, all or none, and once per idempotency key. Raises `IdempotencyKeyReused`, `QuotaExceeded`."""
    first, results = prepared[0], [SubmissionResult.of(each.email) for each in prepared]
    owner, now = first.email.owner, first.email.created_at
    if idempotency is not None and (earlier := reserve_key(owner, idempotency, results, now=now)) is not None:
        return earlier
    if first.quota_key is not None:
        consume_quota(first.quota_key, len(prepared), now=timezone.now())
    _store(prepared)
    return results


def submit_plain_text_email(*, address: str, text: str) -> UUID:
    """Store a plain-text message to one email address. Return the email's id."""
    prepared = prepare_email(plain_text_email(address=address, text=text), now=timezone.now())
    submit_batch([prepared])
    return prepared.email.id


def plain_text_email(*, address: str, text: str) -> NewEmail:
    """Return a plain-text message to one email address. Its subject is the first line of the text."""
    first_line = " ".join(text.strip().partition("\n")[0].split())
    subject = remove_misleading_characters(first_line)[:MAX_DERIVED_SUBJECT_LENGTH]
    draft = Draft(sender=settings.DEFAULT_FROM_EMAIL, to=(address,), subject=subject, text=text)
    return NewEmail(draft)


def message_id_for(email_id: UUID, sender: str) -> str:
    """Return a Message-ID. The email id alone makes it unique, so a sender domain that is too long is cut to a parent domain."""
    domain = addr_spec(sender).rpartition("@")[2]
    while len(f"{email_id}@{domain}") > MAX_MESSAGE_ID_LENGTH:
        domain = domain.partition(".")[2]
    return f"<{email_id}@{domain}>"


def _store(prepared: Sequence[PreparedEmail]) -> None:
    emails = [each.email for each in prepared]
    tags = [
        {"key": key, "value": value, "email_id": email.id, "owner": email.owner}
        for email in emails
        for key, value in email.tags.items()
    ]
    words = [{"word": word, "email_id": email.id} for email in emails for word in split_words(email.subject)]
    bulk_insert_all(
        [
            (Email, [email.columns() for email in emails]),
            (RawMessage, [{"email_id": each.email.id, "content": each.content} for each in prepared]),
            (Recipient, [row for email in emails for row in _recipient_rows(email)]),
            (Tag, tags),
            (SubjectWord, words),
        ]
    )
    append_events([build_event(email, now=email.created_at) for email in emails])
    if any(email.priority == Priority.HIGH for email in emails):
        transaction.on_commit(urgent_email_queued.send, robust=True)
    transaction.on_commit(partial(count_accepted, Counter(email.priority for email in emails)), robust=True)


def _recipient_rows(email: EmailRow) -> list[dict[str, Any]]:
    # An email that an earlier version accepted, and that is sent again, may have an address twice, with different case.
    addresses = dict.fromkeys(address.lower() for address in email.recipients)
    return [{"address": address, "email_id": email.id, "owner": email.owner} for address in addresses]


def _reserve_key_and_quota(prepared: PreparedEmail) -> SubmissionResult | Exception:
    """Reserve the idempotency key, then consume the quota. A replayed request does not count against the quota again."""
    result = _reserve_key(prepared)
    if prepared.quota_key is None or not isinstance(result, SubmissionResult) or result.replayed:
        return result
    try:
        consume_quota(prepared.quota_key, 1, now=timezone.now())
    except QuotaExceeded as error:
        if prepared.idempotency is not None:
            release_key(prepared.email.owner, prepared.idempotency)
        return error
    return result


def _reserve_key(prepared: PreparedEmail) -> SubmissionResult | Exception:
    email, result = prepared.email, SubmissionResult.of(prepared.email)
    if prepared.idempotency is None:
        return result
    try:
        earlier = reserve_key(email.owner, prepared.idempotency, [result], now=email.created_at)
    except IdempotencyKeyReused as error:
        return error
    return result if earlier is None else earlier[0]
