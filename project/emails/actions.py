"""What a caller may change about a mail that was accepted. Each change is one conditional UPDATE: it is made, or refused."""

from datetime import datetime
from typing import Any
from uuid import UUID

from project.auth.principal import Principal
from project.emails.mime.builder import with_date
from project.emails.models import Email, RawMessage
from project.emails.selectors import changeable_by, get_email
from project.emails.status import CANCELABLE, Status
from project.errors import DomainError
from project.events.log import record_status_events, wake_worker_on_commit


class NotOwner(DomainError):
    """It is another's, and the caller may see it and no more."""

    code = "email_not_yours"


class EmailNotCancelable(DomainError):
    """It is on its way, or has arrived, or was canceled before."""

    code = "email_not_cancelable"


class EmailNotRetryable(DomainError):
    """It has not failed."""

    code = "email_not_retryable"


class EmailNotReschedulable(DomainError):
    """It is not waiting for its time."""

    code = "email_not_reschedulable"


def cancel_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Keep a mail that waits from being sent. Raises `EmailNotFound`, `EmailNotCancelable`."""
    return _change(email_id, principal, now, CANCELABLE, EmailNotCancelable, status=Status.CANCELED, next_attempt_at=None)


def retry_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Send a failed mail again, with all its chances. Raises `EmailNotFound`, `EmailNotRetryable`."""
    return _change(
        email_id, principal, now, (Status.FAILED,), EmailNotRetryable, status=Status.QUEUED, attempts=0, recipient_results={}
    )


def reschedule_email(email_id: UUID, *, at: datetime, principal: Principal, now: datetime) -> Email:
    """Send a scheduled mail at another time, with that for its date. Raises `EmailNotFound`, `EmailNotReschedulable`."""
    email = _change(email_id, principal, now, (Status.SCHEDULED,), EmailNotReschedulable, scheduled_at=at, next_attempt_at=at)
    source = RawMessage.objects.get(email=email)
    source.content = with_date(bytes(source.content), max(at, now))
    source.save()
    wake_worker_on_commit()
    return email


def _change(  # what all three have in common
    email_id: UUID, principal: Principal, now: datetime, possible: tuple[Status, ...], refusal: type[DomainError], **changes: Any
) -> Email:
    own = changeable_by(principal).filter(id=email_id)
    changed = own.filter(status__in=possible).update(**changes)
    email = get_email(email_id, principal=principal)
    if not changed and not own.exists():
        raise NotOwner("This email is another's.")
    if not changed:
        raise refusal(f"This email is {email.status}.")
    if "status" in changes:
        record_status_events([email], now=now)
    return email
