"""Taking a mail in. When this is committed, it will be delivered, and what was accepted is what is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.errors import Refusal
from project.outbox import mime
from project.outbox.events import record_events
from project.outbox.models import Email, IdempotencyKey, Source
from project.outbox.states import Status

SUBJECT_LENGTH = 78  # RFC 5322 section 2.1.1: lines should be no longer
KEYS_LIVE = timedelta(hours=24)


class IdempotencyKeyReused(Refusal):
    """The same key came with another body."""

    code = "idempotency_key_reused"


@dataclass(frozen=True)
class Idempotency:
    """The key under which a caller asks, and a fingerprint of what for."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Order:
    """What is to be sent, for whom, and when."""

    draft: mime.Draft
    caller_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    scheduled_at: datetime | None = None


@dataclass(frozen=True)
class Accepted:
    """What the caller is told. `replayed` if it was told before."""

    id: str
    status: str
    created_at: str  # RFC 3339, in UTC
    replayed: bool = False


def accept_email(order: Order, *, idempotency: Idempotency | None = None, now: datetime) -> Accepted:
    """Queue a mail, once for each key of its caller. Raises `IdempotencyKeyReused`."""
    email, source = _prepared(order, now)
    answer = {"id": str(email.id), "status": email.status, "created_at": now.isoformat().replace("+00:00", "Z")}
    if idempotency is not None and (earlier := _earlier_answer(order, idempotency, answer, now)):
        return Accepted(earlier["id"], earlier["status"], earlier["created_at"], replayed=True)
    _store([(email, source)], now)
    return Accepted(answer["id"], answer["status"], answer["created_at"])


def accept_batch(orders: Sequence[Order], *, now: datetime) -> list[Accepted]:
    """Queue many mails, all or none."""
    prepared = [_prepared(order, now) for order in orders]
    _store(prepared, now)
    return [Accepted(str(email.id), email.status, now.isoformat().replace("+00:00", "Z")) for email, _ in prepared]


def accept_message(*, address: str, text: str) -> UUID:
    """Queue a plain message to one address; its first line is the subject. Gives the e-mail's id."""
    subject = " ".join(text.strip().partition("\n")[0].split())[:SUBJECT_LENGTH]
    draft = mime.Draft(sender=settings.DEFAULT_FROM_EMAIL, to=(address,), subject=subject, text=text)
    return UUID(accept_email(Order(draft), now=timezone.now()).id)


def _prepared(order: Order, now: datetime) -> tuple[Email, Source]:
    """The rows of a mail, made and not yet stored."""
    draft, email_id = order.draft, uuid7()
    scheduled = order.scheduled_at is not None and order.scheduled_at > now
    email = Email(
        id=email_id,
        caller=order.caller_id,
        created_at=now,
        status=Status.SCHEDULED if scheduled else Status.QUEUED,
        sender=draft.sender,
        to=list(draft.to),
        cc=list(draft.cc),
        bcc=list(draft.bcc),
        reply_to=list(draft.reply_to),
        recipients=mime.addresses_of(draft),
        subject=draft.subject,
        text=draft.text or "",
        html=draft.html or "",
        tags=dict(order.tags),
        message_id=f"<{email_id}@{mime.bare(draft.sender).rpartition('@')[2]}>",
        scheduled_at=order.scheduled_at,
        next_attempt_at=order.scheduled_at if scheduled else None,
    )
    return email, Source(email=email, content=mime.build(draft, message_id=email.message_id, date=order.scheduled_at or now))


def _store(prepared: Sequence[tuple[Email, Source]], now: datetime) -> None:
    Email.objects.bulk_create([email for email, _ in prepared])
    Source.objects.bulk_create([source for _, source in prepared])
    record_events([email for email, _ in prepared], now=now)


def _earlier_answer(order: Order, asked: Idempotency, answer: dict[str, str], now: datetime) -> dict[str, str] | None:
    """What was answered under this key, or None if it is new; from now on, `answer` is."""
    IdempotencyKey.objects.filter(caller=order.caller_id, key=asked.key, created_at__lte=now - KEYS_LIVE).delete()
    record, is_new = IdempotencyKey.objects.get_or_create(
        caller=order.caller_id,
        key=asked.key,
        defaults={"fingerprint": asked.fingerprint, "answer": answer, "created_at": now},
    )
    if is_new:
        return None
    if record.fingerprint != asked.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came before, with another body.")
    earlier: dict[str, str] = record.answer
    return earlier
