"""Taking mail in. When this is committed, it will be delivered, and what was accepted is what is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.accounts.limits import QuotaExceeded, count_mails
from project.errors import Refusal
from project.outbox import mime
from project.outbox.bulk import insert
from project.outbox.events import event_of, write_events
from project.outbox.models import Email, IdempotencyKey, Recipient, Source, Tag
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
    template_id: int | None = None  # the version that the draft was made from
    scheduled_at: datetime | None = None
    idempotency: Idempotency | None = None
    quota_key: int | None = None  # the API key whose daily quota this counts against


@dataclass(frozen=True)
class Prepared:
    """A mail whose row and bytes are made, and not yet stored."""

    email: Email
    content: bytes
    idempotency: Idempotency | None
    quota_key: int | None = None


@dataclass(frozen=True)
class Accepted:
    """What the caller is told. `replayed` if it was told before."""

    id: str
    status: str
    created_at: str  # RFC 3339, in UTC
    replayed: bool = False


def prepare(order: Order, *, now: datetime) -> Prepared:
    """Make a mail's row, and the bytes that will be sent. Needs no database: what takes long is done before the transaction."""
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
        template_id=order.template_id,
        message_id=_message_id(email_id, draft.sender),
        scheduled_at=order.scheduled_at,
        next_attempt_at=order.scheduled_at if scheduled else None,
    )
    content = mime.build(draft, message_id=email.message_id, date=email.next_attempt_at or now)  # which never is the past
    return Prepared(email, content, order.idempotency, order.quota_key)


def _message_id(email_id: UUID, sender: str) -> str:
    """Unique by its left side alone. The right one is the sender's domain, or of one that is too long, a domain above it."""
    domain = mime.bare(sender).rpartition("@")[2]
    while len(f"{email_id}@{domain}") > mime.ID_LENGTH:
        domain = domain.partition(".")[2]
    return f"<{email_id}@{domain}>"


def accept_emails(mails: Sequence[Prepared]) -> list[Accepted | Exception]:
    """Store many callers' mails, each once for its idempotency key. For each its answer, or its refusal:
    `IdempotencyKeyReused` or `QuotaExceeded`.
    """
    answers = [_answer_to(mail) for mail in mails]
    _store([mail for mail, answer in zip(mails, answers, strict=True) if isinstance(answer, Accepted) and not answer.replayed])
    return answers


def earlier_answers(caller_id: str, asked: Idempotency, *, now: datetime) -> list[Accepted] | None:
    """What was answered to the same request before, mail by mail, if it was. Raises `IdempotencyKeyReused`."""
    records = IdempotencyKey.objects.filter(caller=caller_id, key=asked.key, created_at__gt=now - KEYS_LIVE)
    record = records.first()
    return None if record is None else _again(record, asked)


def accept_batch(mails: Sequence[Prepared], *, asked: Idempotency | None = None) -> list[Accepted]:
    """Store one caller's mails, all or none, and once for their key. Raises `IdempotencyKeyReused`, `QuotaExceeded`."""
    first, answers = mails[0], [_accepted(mail.email) for mail in mails]
    if asked is not None and (earlier := _earlier(asked, [_told(answer) for answer in answers], first.email)) is not None:
        return earlier
    if first.quota_key is not None:
        count_mails(first.quota_key, len(mails), now=first.email.created_at)
    _store(mails)
    return answers


def accept_message(*, address: str, text: str) -> UUID:
    """Store a plain message to one address. Gives the e-mail's id."""
    mail = prepare(message_order(address=address, text=text), now=timezone.now())
    accept_batch([mail])
    return mail.email.id


def message_order(*, address: str, text: str) -> Order:
    """A plain message to one address; its first line is the subject."""
    subject = " ".join(text.strip().partition("\n")[0].split())[:SUBJECT_LENGTH]
    draft = mime.Draft(sender=settings.DEFAULT_FROM_EMAIL, to=(address,), subject=subject, text=text)
    return Order(draft)


def _store(mails: Sequence[Prepared]) -> None:
    emails = [mail.email for mail in mails]
    insert(Email, [vars(email) for email in emails])
    insert(Source, [{"email_id": mail.email.id, "content": mail.content} for mail in mails])
    insert(Recipient, [{"address": address, "email_id": email.id} for email in emails for address in email.recipients])
    insert(Tag, [{"key": key, "value": value, "email_id": email.id} for email in emails for key, value in email.tags.items()])
    write_events([event_of(email, now=email.created_at) for email in emails])


def _accepted(email: Email) -> Accepted:
    return Accepted(str(email.id), email.status, email.created_at.isoformat().replace("+00:00", "Z"))


def _answer_to(mail: Prepared) -> Accepted | Exception:
    """What is answered to this mail. What was answered before counts against no quota again."""
    answer = _answer_for_key(mail)
    if mail.quota_key is None or not isinstance(answer, Accepted) or answer.replayed:
        return answer
    try:
        count_mails(mail.quota_key, 1, now=mail.email.created_at)
    except QuotaExceeded as refusal:
        if mail.idempotency is not None:
            IdempotencyKey.objects.filter(caller=mail.email.caller, key=mail.idempotency.key).delete()
        return refusal
    return answer


def _answer_for_key(mail: Prepared) -> Accepted | Exception:
    """If its idempotency key is known, what was answered first."""
    answer = _accepted(mail.email)
    if mail.idempotency is None:
        return answer
    try:
        earlier = _earlier(mail.idempotency, _told(answer), mail.email)
    except IdempotencyKeyReused as refusal:
        return refusal
    return answer if earlier is None else earlier[0]


def _earlier(asked: Idempotency, told: object, email: Email) -> list[Accepted] | None:
    """What was answered first, if the key is known. If not, it is from now on, with what is told now."""
    caller, now = email.caller, email.created_at
    IdempotencyKey.objects.filter(caller=caller, key=asked.key, created_at__lte=now - KEYS_LIVE).delete()
    record, is_new = IdempotencyKey.objects.get_or_create(
        caller=caller, key=asked.key, defaults={"fingerprint": asked.fingerprint, "answer": told, "created_at": now}
    )
    return None if is_new else _again(record, asked)


def _again(record: IdempotencyKey, asked: Idempotency) -> list[Accepted]:
    if record.fingerprint != asked.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came before, with another body.")
    answers = record.answer if isinstance(record.answer, list) else [record.answer]  # of many mails, or of one
    return [Accepted(**answer, replayed=True) for answer in answers]


def _told(answer: Accepted) -> dict[str, str]:
    return {"id": answer.id, "status": answer.status, "created_at": answer.created_at}
