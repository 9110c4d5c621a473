"""Routes of emails: send, list, get, cancel, retry and reschedule."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import BackgroundTasks, Path, Query, Response, Security
from pydantic import AfterValidator, Field

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import SendingDep, WorkerDep, require_principal
from fastapi_app.emails.idempotency import IdempotencyKey, read_idempotency
from fastapi_app.emails.new_emails import batch_accepted, new_email, new_emails, require_senders
from fastapi_app.emails.rendering import render_emails
from fastapi_app.emails.schemas import (
    EXAMPLE_REASON,
    BatchAccepted,
    EmailAccepted,
    EmailBatch,
    EmailIn,
    EmailOut,
    EmailPage,
    RescheduleRequest,
)
from fastapi_app.error_responses import ErrorBody, ValidationErrorBody, openapi_errors
from fastapi_app.events.schemas import EventList
from fastapi_app.fields import NO_NUL, NO_NUL_SCHEMA, Storable
from fastapi_app.pagination import Limit
from project.api_keys.quota import check_quota
from project.auth.principal import Principal
from project.bridge.database.read_transactions import run_in_read_transaction, run_lookup
from project.bridge.database.transactions import run_in_thread, run_in_transaction
from project.emails.actions import cancel_email, reschedule_email, retry_email
from project.emails.failure_reason import MAX_REASON_LENGTH
from project.emails.idempotency import Idempotency, find_earlier_response
from project.emails.mime.email_addresses import normalize_address
from project.emails.mime.headers import addr_spec
from project.emails.priority import Priority
from project.emails.selectors import EmailFilter, PageRequest, get_email, list_email_events, list_emails
from project.emails.status import Status
from project.emails.submission_result import SubmissionResult


def _normalize_if_valid(address: str) -> str:
    """Return the address in the form of stored recipients. An invalid address stays as it is, and matches no recipient."""
    with suppress(ValueError):
        return normalize_address(address)
    return address


router = ApiRouter(prefix="/emails", tags=["emails"])

EmailId = Annotated[UUID, Path(description="ID of the email", examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])]
SendingPrincipal = Annotated[Principal, Security(require_principal, scopes=["emails:send"])]
ReadingPrincipal = Annotated[Principal, Security(require_principal, scopes=["emails:read"])]
RecipientAddress = Annotated[Storable, AfterValidator(_normalize_if_valid)]
Reason = Annotated[str, Field(max_length=MAX_REASON_LENGTH), NO_NUL, NO_NUL_SCHEMA]
TagFilter = Annotated[str, Field(pattern=r"^[^:\x00]+:[^\x00]+$")]
REPLAYED_HEADER: dict[str, Any] = {
    "description": "`true` if this is the response to an earlier request with the same key",
    "schema": {"const": "true"},
}
LINKED_OPERATIONS = ("get_email", "list_email_events", "cancel_email", "retry_email", "resend_email", "reschedule_email")
LINKS = {name: {"operationId": name, "parameters": {"email_id": "$response.body#/id"}} for name in LINKED_OPERATIONS}
SUBMIT_RESPONSES: dict[int | str, dict[str, Any]] = openapi_errors(400, 401, 403, 413) | {
    202: {"headers": {"Idempotent-Replayed": REPLAYED_HEADER}},
    422: {
        "model": ValidationErrorBody | ErrorBody,
        "description": "Validation error, `email_too_large`, `batch_too_complex` or `idempotency_key_reused`",
    },
}
SUBMIT_ONE_RESPONSES = SUBMIT_RESPONSES | {202: {**SUBMIT_RESPONSES[202], "links": LINKS}}


@router.post("", summary="Send an email", operation_id="send_email", status_code=202, responses=SUBMIT_ONE_RESPONSES)
async def send(  # noqa: PLR0913  # FastAPI passes dependencies as arguments
    email: EmailIn,
    principal: SendingPrincipal,
    sending: SendingDep,
    tasks: BackgroundTasks,
    response: Response,
    key: IdempotencyKey = None,
) -> EmailAccepted:
    """Queue an email for delivery, now or at `scheduled_at`.

    When you receive the 202, the email is stored: its template is rendered, and the message will not change until it is sent.
    """
    principal.require_sender(addr_spec(email.sender))
    idempotency = await read_idempotency(key, email)
    # A replay must not render the template, because a template that has changed since the first request could fail.
    earlier = await _find_earlier(principal, idempotency) if email.is_expensive() else None
    if earlier is None:
        await _check_quota(principal, 1 if email.is_expensive() else 0)
        (rendered,) = await render_emails({("body",): email})
        result = await sending.submission.submit(new_email(email, rendered, principal, idempotency))
    else:
        (result,) = earlier
    if result.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(sending.worker.wake_or_deliver)
    return EmailAccepted.model_validate(result, from_attributes=True)


@router.post("/batch", summary="Send a batch of emails", operation_id="send_emails", status_code=202, responses=SUBMIT_RESPONSES)
async def send_batch(  # noqa: PLR0913  # FastAPI passes dependencies as arguments
    batch: EmailBatch,
    principal: SendingPrincipal,
    sending: SendingDep,
    tasks: BackgroundTasks,
    response: Response,
    key: IdempotencyKey = None,
) -> BatchAccepted:
    """Queue up to 1000 emails, all or none. A validation error names the index of the email that caused it."""
    # Each step over all emails runs in a thread: a batch must not delay other requests.
    await run_in_thread(require_senders, batch, principal)
    idempotency = await read_idempotency(key, batch)
    results = await _find_earlier(principal, idempotency)
    if results is None:
        await _check_quota(principal, len(batch.emails))
        rendered = await render_emails({("body", "emails", index): email for index, email in enumerate(batch.emails)})
        emails = await run_in_thread(new_emails, batch, rendered, principal)
        results = await sending.submission.submit_batch(emails, idempotency=idempotency)
    if results[0].replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(sending.worker.wake_or_deliver)
    return await run_in_thread(batch_accepted, results)


@router.get("", summary="List emails", operation_id="list_emails", responses=openapi_errors(401, 403, 422))
async def list_(  # noqa: PLR0913  # one argument per query parameter
    principal: ReadingPrincipal,
    status: Annotated[Status | None, Query(description="Only emails with this status")] = None,
    to: Annotated[RecipientAddress | None, Query(description="Only emails with this recipient, as a bare address")] = None,
    tag: Annotated[TagFilter | None, Query(description="Only emails with this tag (`key:value`)", examples=["order:42"])] = None,
    reason: Annotated[Reason | None, Query(description="Only emails with this `reason`", examples=[EXAMPLE_REASON])] = None,
    priority: Annotated[Priority | None, Query(description="Only emails with this priority")] = None,
    after: Annotated[UUID | None, Query(description="The `next` of the previous page")] = None,
    limit: Limit = 20,
) -> EmailPage:
    """List your emails, newest first.

    With several filters, a page may have fewer emails than `limit`, or none, although there are more: only `next` shows that a
    page is the last one.

    Staff users with the permission to view emails see the emails of all API keys and users.
    """
    filters = EmailFilter(status=status, to=to, tag=tuple(tag.split(":", 1)) if tag else None, reason=reason, priority=priority)
    page = await run_in_read_transaction(list_emails, filters, PageRequest(after, limit), principal=principal)
    return EmailPage.model_validate({"data": page.emails, "next": page.next and str(page.next)}, from_attributes=True)


@router.get("/{email_id}", summary="Get an email", operation_id="get_email", responses=openapi_errors(401, 403, 404, 422))
async def get(email_id: EmailId, principal: ReadingPrincipal) -> EmailOut:
    """Get an email with its delivery status."""
    return EmailOut.model_validate(await run_in_read_transaction(get_email, email_id, principal=principal))


@router.get(
    "/{email_id}/events",
    summary="List an email's events",
    operation_id="list_email_events",
    responses=openapi_errors(401, 403, 404, 422),
    response_model_exclude_unset=True,  # the same JSON as the other event routes return
)
async def events(email_id: EmailId, principal: ReadingPrincipal) -> EventList:
    """List all events of an email, oldest first."""
    events = await run_in_read_transaction(list_email_events, email_id, principal=principal)
    return EventList.model_validate({"data": events, "next": None}, from_attributes=True)


@router.post(
    "/{email_id}/cancel",
    summary="Cancel an email",
    operation_id="cancel_email",
    responses=openapi_errors(401, 403, 404, 409, 413, 422),
)
async def cancel(email_id: EmailId, principal: SendingPrincipal) -> EmailOut:
    """Cancel a queued, scheduled or delayed email."""
    return EmailOut.model_validate(await run_in_transaction(cancel_email, email_id, principal=principal, now=datetime.now(UTC)))


@router.post(
    "/{email_id}/retry",
    summary="Retry an email",
    operation_id="retry_email",
    responses=openapi_errors(401, 403, 404, 409, 413, 422),
)
async def retry(email_id: EmailId, principal: SendingPrincipal, worker: WorkerDep, tasks: BackgroundTasks) -> EmailOut:
    """Queue a failed or delayed email now, or a sent email again for the recipients for which it failed.

    Its number of attempts restarts at 0.
    """
    email = await run_in_transaction(retry_email, email_id, principal=principal, now=datetime.now(UTC))
    tasks.add_task(worker.wake_or_deliver)
    return EmailOut.model_validate(email)


@router.patch(
    "/{email_id}",
    summary="Reschedule an email",
    operation_id="reschedule_email",
    responses=openapi_errors(400, 401, 403, 404, 409, 413, 422),
)
async def reschedule(
    email_id: EmailId, change: RescheduleRequest, principal: SendingPrincipal, worker: WorkerDep, tasks: BackgroundTasks
) -> EmailOut:
    """Change the time of a scheduled email. If the new time is in the past, the email is sent now."""
    now = datetime.now(UTC)
    email = await run_in_transaction(reschedule_email, email_id, at=change.scheduled_at, principal=principal, now=now)
    tasks.add_task(worker.wake_or_deliver)
    return EmailOut.model_validate(email)


async def _find_earlier(principal: Principal, idempotency: Idempotency | None) -> list[SubmissionResult] | None:
    """Return the results of an earlier request with the same key, or None. Raises `IdempotencyKeyReused`."""
    if idempotency is None:
        return None
    return await run_lookup(find_earlier_response, principal.owner_id, idempotency, now=datetime.now(UTC))


async def _check_quota(principal: Principal, count: int) -> None:
    """Reject emails beyond the quota before the work of rendering and building. They are counted when they are stored."""
    if principal.quota_key is not None and count:
        await run_lookup(check_quota, principal.quota_key, count, now=datetime.now(UTC))
