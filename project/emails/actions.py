"""Actions on a submitted email: cancel, retry, reschedule. Sending an email again is in `resend`.

Each action is one conditional UPDATE, so it takes effect only if the email's status allows it at that moment.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, JSONField, Value, When

from project.auth.principal import Principal
from project.emails.mime.builder import with_date
from project.emails.models import Email, RawMessage
from project.emails.selectors import changeable_by, get_email
from project.emails.status import CANCELABLE, RETRYABLE, Status
from project.errors import DomainError
from project.events.log import record_status_events, wake_worker_on_commit


class NotOwner(DomainError):
    """The email belongs to another owner: the caller may see it, but not change it."""

    code = "not_owner"


class EmailNotCancelable(DomainError):
    """The email is neither queued, scheduled nor delayed."""

    code = "email_not_cancelable"


class EmailNotRetryable(DomainError):
    """The email is neither failed nor delayed, and it did not fail for some of its recipients."""

    code = "email_not_retryable"


class EmailNotReschedulable(DomainError):
    """The email is not scheduled."""

    code = "email_not_reschedulable"


class EmailBodyDeleted(DomainError):
    """The message of the email was deleted after its retention period (`KEEP_BODIES`), so the email cannot be sent."""

    code = "email_body_deleted"


PARTICIPLES: dict[type[DomainError], str] = {
    EmailNotCancelable: "canceled",
    EmailNotRetryable: "retried",
    EmailNotReschedulable: "rescheduled",
}


# The fields that project.events.log.EmailLike needs.
EVENT_FIELDS = ("owner", "status", "recipients", "recipient_results", "subject", "tags", "attempts", "scheduled_at")
CANCELED: dict[str, Any] = {"status": Status.CANCELED, "next_attempt_at": None, "reason": None}
QUEUED: dict[str, Any] = {
    "status": Status.QUEUED,
    "attempts": 0,
    "crashes": None,
    "next_attempt_at": None,
    "reason": None,
    "recipient_results": Case(When(status=Status.FAILED, then=Value({}, JSONField())), default=F("recipient_results")),
}


def cancel_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Cancel a queued, scheduled or delayed email. Raises `EmailNotFound`, `NotOwner`, `EmailNotCancelable`."""
    return _change(email_id, principal, now, CANCELABLE, EmailNotCancelable, **CANCELED)


def cancel_emails(emails: Sequence[Email], *, principal: Principal, now: datetime) -> None:
    """Cancel locked emails whose status allows it, as one step."""
    _change_all(emails, principal, now, **CANCELED)


def retry_email(email_id: UUID, *, principal: Principal, now: datetime) -> Email:
    """Queue a failed or delayed email now and reset its attempts.

    An email that was sent to only some of its recipients is queued for the recipients for which it failed. A delayed email keeps
    the final results of its recipients, because the relay may already have accepted it for some of them. Raises `EmailNotFound`,
    `NotOwner`, `EmailNotRetryable`, `EmailBodyDeleted`.
    """
    if kept := _results_without_failures(email_id, principal):
        retried = QUEUED | {"recipient_results": Value(kept, JSONField()), "retried_at": now}
        return _change(email_id, principal, now, (Status.SENT,), EmailNotRetryable, **retried)
    return _change(email_id, principal, now, RETRYABLE, EmailNotRetryable, **QUEUED, retried_at=now)


def retry_emails(emails: Sequence[Email], *, principal: Principal, now: datetime) -> None:
    """Queue locked emails that can be retried, as one step."""
    for email in emails:
        if email.status == Status.SENT:
            kept = Value(email.results_without_failures, JSONField())
            changeable_by(principal).filter(id=email.id).update(recipient_results=kept)
    _change_all(emails, principal, now, **QUEUED, retried_at=now)


def _results_without_failures(email_id: UUID, principal: Principal) -> dict[str, Any]:
    """Return the other results of an email that was sent to some recipients and failed for others, or an empty dict."""
    sent = changeable_by(principal).select_for_update().filter(id=email_id, status=Status.SENT)  # locked, so it stays sent
    email = sent.only("status", "recipient_results").first()
    return email.results_without_failures if email is not None and email.is_retryable else {}


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


def require_change_permission(email_id: UUID, *, principal: Principal) -> Email:
    """Return an email that the principal may change. Raises `EmailNotFound`, `NotOwner`."""
    email = get_email(email_id, principal=principal)
    if not changeable_by(principal).filter(id=email_id).exists():
        raise NotOwner("You do not have permission to change this email.")
    return email


def require_body(email: Email) -> None:
    """Raise `EmailBodyDeleted` if the message of the email was deleted."""
    if not RawMessage.objects.filter(email=email).exists():
        raise EmailBodyDeleted("The message of this email was deleted after its retention period.")


def _change_all(emails: Sequence[Email], principal: Principal, now: datetime, **changes: Any) -> None:
    """Apply `changes` to emails that the caller's transaction has locked."""
    changed = changeable_by(principal).filter(id__in=[email.id for email in emails])
    changed.update(**changes)
    record_status_events(changed.only(*EVENT_FIELDS), now=now)


def _change(
    email_id: UUID, principal: Principal, now: datetime, allowed: tuple[Status, ...], rejection: type[DomainError], **changes: Any
) -> Email:
    """Apply `changes` if the principal may change the email and its status is one of `allowed`; else raise `rejection`."""
    changed = changeable_by(principal).filter(id=email_id, status__in=allowed).update(**changes)
    email = require_change_permission(email_id, principal=principal)
    if not changed:
        raise rejection(f"This email cannot be {PARTICIPLES[rejection]} because its status is {email.status}.")
    if changes.get("status") == Status.QUEUED:
        require_body(email)
    if "status" in changes:
        record_status_events([email], now=now)
    return email
