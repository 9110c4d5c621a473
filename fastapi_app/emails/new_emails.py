"""Converts the emails of a request to the emails to submit."""

from collections.abc import Sequence

from fastapi_app.emails.rendering import RenderedEmail
from fastapi_app.emails.schemas import BatchAccepted, EmailAccepted, EmailBatch, EmailIn
from project.auth.principal import Principal
from project.emails.idempotency import Idempotency
from project.emails.mime.headers import addr_spec
from project.emails.submission_result import SubmissionResult
from project.emails.submit import NewEmail


def new_email(email: EmailIn, rendered: RenderedEmail, principal: Principal, idempotency: Idempotency | None = None) -> NewEmail:
    """Return an email to submit for the principal."""
    return NewEmail(
        rendered.draft,
        owner_id=principal.owner_id,
        tags=email.tags,
        template_id=rendered.template_id,
        scheduled_at=email.scheduled_at,
        priority=email.priority,
        idempotency=idempotency,
        quota_key=principal.quota_key,
    )


# The functions below take a while for a large batch, so they are called in a thread.


def require_senders(batch: EmailBatch, principal: Principal) -> None:
    """Check that the principal may use the sender of each email. Raises `SenderNotAllowed`."""
    for email in batch.emails:
        principal.require_sender(addr_spec(email.sender))


def new_emails(batch: EmailBatch, rendered: Sequence[RenderedEmail], principal: Principal) -> list[NewEmail]:
    """Return the emails of a batch to submit."""
    return [new_email(email, each, principal) for email, each in zip(batch.emails, rendered, strict=True)]


def batch_accepted(results: Sequence[SubmissionResult]) -> BatchAccepted:
    """Return the response to a batch."""
    return BatchAccepted(data=[EmailAccepted.model_validate(result, from_attributes=True) for result in results])
