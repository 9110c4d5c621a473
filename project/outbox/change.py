"""What a caller may change about a mail that was accepted. Each change is one conditional UPDATE: it is made, or refused."""

from datetime import datetime
from typing import Any
from uuid import UUID

from project.accounts.principal import Principal
from project.errors import Refusal
from project.outbox import mime
from project.outbox.events import record_events, tell_the_engine
from project.outbox.models import Email, Source
from project.outbox.queries import changeable_by, get_email
from project.outbox.states import CANCELABLE, Status


class EmailNotYours(Refusal):
    """It is another's, and the caller may see it and no more."""

    code = "email_not_yours"


class EmailNotCancelable(Refusal):
    """It is on its way, or has arrived, or was canceled before."""

    code = "email_not_cancelable"


class EmailNotRetryable(Refusal):
    """It has not failed."""

    code = "email_not_retryable"


class EmailNotReschedulable(Refusal):
    """It is not waiting for its time."""

    code = "email_not_reschedulable"


def cancel_email(email_id: UUID, *, caller: Principal, now: datetime) -> Email:
    """Keep a mail that waits from being sent. Raises `EmailNotFound`, `EmailNotCancelable`."""
    return _change(email_id, caller, now, CANCELABLE, EmailNotCancelable, status=Status.CANCELED, next_attempt_at=None)


def retry_email(email_id: UUID, *, caller: Principal, now: datetime) -> Email:
    """Send a failed mail again, with all its chances. Raises `EmailNotFound`, `EmailNotRetryable`."""
    return _change(email_id, caller, now, (Status.FAILED,), EmailNotRetryable, status=Status.QUEUED, attempts=0, settled={})


def reschedule_email(email_id: UUID, *, at: datetime, caller: Principal, now: datetime) -> Email:
    """Send a scheduled mail at another time, with that for its date. Raises `EmailNotFound`, `EmailNotReschedulable`."""
    email = _change(email_id, caller, now, (Status.SCHEDULED,), EmailNotReschedulable, scheduled_at=at, next_attempt_at=at)
    source = Source.objects.get(email=email)
    source.content = mime.redated(bytes(source.content), max(at, now))
    source.save()
    tell_the_engine()
    return email


def _change(  # what all three have in common
    email_id: UUID, caller: Principal, now: datetime, possible: tuple[Status, ...], refusal: type[Refusal], **changes: Any
) -> Email:
    own = changeable_by(caller).filter(id=email_id)
    changed = own.filter(status__in=possible).update(**changes)
    email = get_email(email_id, caller=caller)
    if not changed and not own.exists():
        raise EmailNotYours("This email is another's.")
    if not changed:
        raise refusal(f"This email is {email.status}.")
    if "status" in changes:
        record_events([email], now=now)
    return email
