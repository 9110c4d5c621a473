"""Actions on a submitted email: cancel, retry, reschedule.

Each action is one conditional UPDATE, so it takes effect only if the email's status allows it at that moment.
"""

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
    """The email belongs to another owner: the caller may see it, but not change it."""

    code = "not_owner"


class EmailNotCancelable(DomainError):
    """The email is neither queued nor scheduled."""

    code = "email_not_cancelable"


class EmailNotRetryable(DomainError):
    """The email has not failed."""

    code = "email_not_retryable"


class EmailNotReschedulable(DomainError):
    """The email is not scheduled."""

    code = "email_not_reschedulable"


PARTICIPLES: dict[type[DomainError], str] = {
    EmailNotCancelable: "canceled",
    EmailNotRetryable: "retried",
    EmailNotReschedulable: "rescheduled",
}


def cancel_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Cancel a queued or scheduled email. Raises `EmailNotFound`, `NotOwner`, `EmailNotCancelable`."""
    return _change(email_id, principal, now, CANCELABLE, EmailNotCancelable, status=Status.CANCELED, next_attempt_at=None)


def retry_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Queue a failed email again and reset its attempts. Raises `EmailNotFound`, `NotOwner`, `EmailNotRetryable`."""
    return _change(
        email_id, principal, now, (Status.FAILED,), EmailNotRetryable, status=Status.QUEUED, attempts=0, recipient_results={}
    )


def reschedule_email(email_id: UUID, *, at: datetime, principal: Principal, now: datetime) -> Email:
    """Change the time of a scheduled email, and the Date header of its message.

    Raises `EmailNotFound`, `NotOwner`, `EmailNotReschedulable`.
    """
    email = _change(email_id, principal, now, (Status.SCHEDULED,), EmailNotReschedulable, scheduled_at=at, next_attempt_at=at)
    message = RawMessage.objects.get(email=email)
    message.content = with_date(bytes(message.content), max(at, now))
    message.save()
    wake_worker_on_commit()
    return email


def _change(
    email_id: UUID, principal: Principal, now: datetime, allowed: tuple[Status, ...], rejection: type[DomainError], **changes: Any
) -> Email:
    """Apply `changes` if the principal may change the email and its status is one of `allowed`; else raise `rejection`."""
    changeable = changeable_by(principal).filter(id=email_id)
    changed = changeable.filter(status__in=allowed).update(**changes)
    email = get_email(email_id, principal=principal)
    if not changed and not changeable.exists():
        raise NotOwner("You do not have permission to change this email.")
    if not changed:
        raise rejection(f"This email cannot be {PARTICIPLES[rejection]} because its status is {email.status}.")
    if "status" in changes:
        record_status_events([email], now=now)
    return email
