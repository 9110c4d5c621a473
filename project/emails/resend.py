"""Sending an email again: a new email with the content of an email that has a final status."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from project.auth.principal import Principal
from project.emails.actions import require_body, require_change_permission
from project.emails.email_row import EmailRow
from project.emails.idempotency import Idempotency, find_earlier_response
from project.emails.mime.builder import with_date, with_message_id
from project.emails.mime.headers import addr_spec
from project.emails.models import Email, RawMessage
from project.emails.status import FINAL, Status
from project.emails.submission_result import SubmissionResult
from project.emails.submit import PreparedEmail, message_id_for, submit_batch
from project.errors import DomainError


class EmailNotResendable(DomainError):
    """The email has no final status yet: it may still be sent."""

    code = "email_not_resendable"


def resend_email(
    email_id: UUID, *, principal: Principal, now: datetime, idempotency: Idempotency | None = None
) -> SubmissionResult:
    """Queue a copy of an email with a final status, as a new email of the principal. Return the new email's result.

    The principal's rules for From addresses and its quota apply. Suppressed recipients are checked again when the copy is sent.
    Raises `EmailNotFound`, `NotOwner`, `EmailNotResendable`, `EmailBodyDeleted`, `SenderNotAllowed`, `QuotaExceeded`,
    `IdempotencyKeyReused`.
    """
    original = require_change_permission(email_id, principal=principal)
    if idempotency is not None and (earlier := find_earlier_response(principal.owner_id, idempotency, now=now)):
        return earlier[0]
    if original.status not in FINAL:
        raise EmailNotResendable(f"This email cannot be sent again because its status is {original.status}.")
    require_body(original)
    principal.require_sender(addr_spec(original.sender))
    (result,) = submit_batch([copy_email(original, principal=principal, now=now)], idempotency=idempotency)
    return result


def resend_emails(emails: Sequence[Email], *, principal: Principal, now: datetime) -> None:
    """Queue copies of emails with a final status, all or none. Raises `SenderNotAllowed`, `QuotaExceeded`."""
    for email in emails:
        principal.require_sender(addr_spec(email.sender))
    submit_batch([copy_email(email, principal=principal, now=now) for email in emails])


def copy_email(original: Email, *, principal: Principal, now: datetime) -> PreparedEmail:
    """Return an unsaved copy of an email, with its own Message-ID and Date."""
    new_id = uuid7()
    copy = EmailRow(
        id=new_id,
        owner=principal.owner_id,
        created_at=now,
        status=Status.QUEUED,
        message_id=message_id_for(new_id, original.sender),
        resent_from_id=original.id,
        **{name: getattr(original, name) for name in COPIED_FIELDS},
    )
    content = bytes(RawMessage.objects.get(email=original).content)
    return PreparedEmail(copy, with_date(with_message_id(content, copy.message_id), now), None, principal.quota_key)


COPIED_FIELDS = (
    *("priority", "sender", "to", "cc", "bcc", "reply_to", "recipients"),
    *("subject", "tags", "template_id"),
)
