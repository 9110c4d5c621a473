"""The kinds of data with a retention period: which rows have expired, and how one batch of them is deleted.

Each batch is one short transaction, so that emails are accepted and delivered meanwhile.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from project.accounts.models import LoginCounter, UserSession
from project.audit.models import AuditEvent
from project.emails.idempotency import KEY_LIFETIME
from project.emails.ids import first_id_at
from project.emails.message_sizes import take_up_to
from project.emails.models import Email, IdempotencyKey, RawMessage
from project.emails.status import FINAL
from project.statistics.email_counts import subtract_emails
from project.transports.models import MailboxMessage

BATCH_SIZE = 500  # rows looked at in one transaction
MAX_BATCH_BYTES = 32 * 1024 * 1024  # of messages deleted in one transaction
KEEP_LOGIN_COUNTERS = KEEP_SESSION_DATA = timedelta(days=1)  # after their end
KEEP_SESSION_LIST = timedelta(days=30)  # since the last use of a session


@dataclass(frozen=True)
class Batch:
    """A deleted batch. `after` is the key of its last row, from which the next batch goes on, or None if it was the last."""

    deleted: int
    after: Any


@dataclass(frozen=True)
class ExpiredData:
    """A kind of data that is deleted when its retention period ends. `select` returns the expired rows.

    Without a retention period, the data is kept forever.
    """

    label: str
    period: Callable[[], timedelta]
    select: Callable[[datetime], QuerySet[Any]]
    delete: Callable[[datetime, Any], Batch]

    def count(self, *, now: datetime) -> int:
        """Return the number of expired rows."""
        return self.select(now - self.period()).count() if self.period() else 0

    def delete_batch(self, *, now: datetime, after: Any) -> Batch:
        """Delete the next batch of expired rows, the oldest first."""
        return self.delete(now - self.period(), after) if self.period() else Batch(0, None)


def expired_bodies(cutoff: datetime) -> QuerySet[Any]:
    """Return the raw messages of finished emails that were due before `cutoff`."""
    return RawMessage.objects.filter(_finished("email__", cutoff), pk__lt=first_id_at(cutoff))


def expired_emails(cutoff: datetime) -> QuerySet[Any]:
    """Return the finished emails that were due before `cutoff`."""
    return Email.objects.filter(_finished("", cutoff), pk__lt=first_id_at(cutoff))


def delete_bodies(cutoff: datetime, after: UUID | None) -> Batch:
    """Delete messages with their attachments. The rows of the emails stay."""
    messages = RawMessage.objects.filter(pk__lt=first_id_at(cutoff)).order_by("pk")
    sizes = _following(messages, after).values_list("pk", Length("content"))[:BATCH_SIZE]
    ids = take_up_to(MAX_BATCH_BYTES, sizes)
    finished = _lock_finished(ids, cutoff)
    RawMessage.objects.filter(pk__in=finished).delete()
    # Versions before 0.2 stored the texts in the email's row too.
    Email.objects.filter(pk__in=finished).exclude(text="", html="").update(text="", html="")
    return Batch(len(finished), ids[-1] if ids else None)


def delete_emails(cutoff: datetime, after: UUID | None) -> Batch:
    """Delete emails with everything that belongs to them: messages, recipients, tags and events."""
    emails = Email.objects.filter(pk__lt=first_id_at(cutoff)).order_by("pk")
    ids = list(_following(emails, after).values_list("pk", flat=True)[:BATCH_SIZE])
    finished = _lock_finished(ids, cutoff)
    subtract_emails(finished, now=timezone.now())
    Email.objects.filter(pk__in=finished).delete()
    return Batch(len(finished), ids[-1] if len(ids) == BATCH_SIZE else None)


def _finished(prefix: str, cutoff: datetime) -> Q:
    """Return the condition on emails with a final status that were not scheduled or retried after `cutoff`."""
    late = Q(**{f"{prefix}scheduled_at__gte": cutoff}) | Q(**{f"{prefix}retried_at__gte": cutoff})
    return Q(**{f"{prefix}status__in": FINAL}) & ~late


def _lock_finished(ids: Sequence[UUID], cutoff: datetime) -> list[UUID]:
    emails = Email.objects.select_for_update(of=("self",)).filter(_finished("", cutoff), pk__in=ids)
    return list(emails.order_by("pk").values_list("pk", flat=True))


def _following(rows: QuerySet[Any], after: Any) -> QuerySet[Any]:
    return rows if after is None else rows.filter(pk__gt=after)


@dataclass(frozen=True)
class _OlderRows:
    """Rows of a model whose time field is before a cutoff.

    Without an index on the field, the rows are read in the order of their primary key, which is the order of their times.
    """

    model: type[Model]
    field: str
    order: str

    def select(self, cutoff: datetime) -> QuerySet[Any]:
        """Return the expired rows."""
        return self.model._default_manager.filter(**{f"{self.field}__lt": cutoff})

    def delete(self, cutoff: datetime, _after: Any) -> Batch:
        """Delete the oldest expired rows."""
        oldest = self.model._default_manager.order_by(self.order).values_list("pk", self.field)[:BATCH_SIZE]
        expired = [pk for pk, time in oldest if time < cutoff]
        self.model._default_manager.filter(pk__in=expired).delete()
        return Batch(len(expired), expired[-1] if len(expired) == BATCH_SIZE else None)


def _kind(label: str, period: Callable[[], timedelta], model: type[Model], field: str, *, order: str) -> ExpiredData:
    rows = _OlderRows(model, field, order)
    return ExpiredData(label, period, rows.select, rows.delete)


KINDS: Sequence[ExpiredData] = (
    ExpiredData("bodies of emails", lambda: settings.KEEP_BODIES, expired_bodies, delete_bodies),
    ExpiredData("emails", lambda: settings.KEEP_EMAILS, expired_emails, delete_emails),
    _kind("messages in the mailbox", lambda: settings.KEEP_MAILBOX, MailboxMessage, "received_at", order="pk"),
    _kind("idempotency keys", lambda: KEY_LIFETIME, IdempotencyKey, "created_at", order="pk"),
    _kind("audit entries", lambda: timedelta(days=settings.AUDIT_RETENTION_DAYS), AuditEvent, "created_at", order="created_at"),
    _kind("counters of failed logins", lambda: KEEP_LOGIN_COUNTERS, LoginCounter, "expires_at", order="expires_at"),
    _kind("expired sessions", lambda: KEEP_SESSION_DATA, Session, "expire_date", order="expire_date"),
    _kind("entries in lists of sessions", lambda: KEEP_SESSION_LIST, UserSession, "last_seen_at", order="last_seen_at"),
)
