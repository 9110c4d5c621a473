"""E-mails: send, look, cancel, retry, reschedule."""

from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Header, Path, Query, Response, Security
from pydantic import AfterValidator, Field

from fastapi_app.dependencies import SubmissionDep, WorkerDep, require_caller
from fastapi_app.emails.rendering import RenderedEmail, render_emails
from fastapi_app.emails.schemas import BatchAccepted, EmailAccepted, EmailBatch, EmailIn, EmailOut, EmailPage, RescheduleRequest
from fastapi_app.error_responses import ErrorBody, ValidationErrorBody, error_responses
from fastapi_app.events.schemas import EventList
from fastapi_app.fields import Storable
from fastapi_app.pagination import Limit
from project.auth.principal import Principal
from project.bridge.background.background_tasks import BackgroundRoute
from project.bridge.database.transactions import run_in_transaction
from project.emails.actions import cancel_email, reschedule_email, retry_email
from project.emails.idempotency import Idempotency, find_earlier_response
from project.emails.mime.email_addresses import normalize_address
from project.emails.mime.headers import addr_spec
from project.emails.receipts import SubmissionReceipt
from project.emails.selectors import EmailFilter, PageRequest, get_email, list_email_events, list_emails
from project.emails.status import Status
from project.emails.submit import NewEmail


def _normalize_or_keep(address: str) -> str:
    """An address as a recipient's is stored; what is none is nobody's."""
    with suppress(ValueError):
        return normalize_address(address)
    return address


router = APIRouter(route_class=BackgroundRoute, prefix="/emails", tags=["emails"])

EmailId = Annotated[UUID, Path(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])]
Sender = Annotated[Principal, Security(require_caller, scopes=["emails:send"])]
Reader = Annotated[Principal, Security(require_caller, scopes=["emails:read"])]
Recipient = Annotated[Storable, AfterValidator(_normalize_or_keep)]
TagFilter = Annotated[str, Field(pattern=r"^[^:\x00]+:[^\x00]+$")]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x20-\x7e]{1,255}$", examples=["order-42"])]
REPLAYED_HEADER: dict[str, Any] = {
    "description": "`true` if this is the answer to an earlier request with the same key",
    "schema": {"const": "true"},
}
LINKED_OPERATIONS = ("get_email", "list_email_events", "cancel_email", "retry_email", "reschedule_email")
LINKS = {name: {"operationId": name, "parameters": {"email_id": "$response.body#/id"}} for name in LINKED_OPERATIONS}
SUBMIT_RESPONSES: dict[int | str, dict[str, Any]] = error_responses(400, 401, 403, 413) | {
    202: {"headers": {"Idempotent-Replayed": REPLAYED_HEADER}},
    422: {"model": ValidationErrorBody | ErrorBody, "description": "What is wrong, or `idempotency_key_reused`"},
}
SUBMIT_ONE_RESPONSES = SUBMIT_RESPONSES | {202: {**SUBMIT_RESPONSES[202], "links": LINKS}}


@router.post("", summary="Send an e-mail", operation_id="send_email", status_code=202, responses=SUBMIT_ONE_RESPONSES)
async def send(  # noqa: PLR0913  # what a route asks for
    email: EmailIn,
    principal: Sender,
    submission: SubmissionDep,
    worker: WorkerDep,
    tasks: BackgroundTasks,
    response: Response,
    key: IdempotencyKey = None,
) -> EmailAccepted:
    """Queue a mail. When the 202 leaves, it is in the database as the bytes that will be sent."""
    principal.require_sender(addr_spec(email.sender))
    asked = _idempotency(key, email)
    # Asked first where the template may have changed since, so that it would be refused now.
    earlier = await _find_earlier(principal, asked) if email.template is not None else None
    if earlier is None:
        (mail,) = await render_emails({("body",): email})
        accepted = await submission.submit(_new_email(email, mail, principal, asked))
    else:
        (accepted,) = earlier
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(worker.wake_or_deliver)
    return EmailAccepted.model_validate(accepted, from_attributes=True)


@router.post("/batch", summary="Send many", operation_id="send_emails", status_code=202, responses=SUBMIT_RESPONSES)
async def send_batch(  # noqa: PLR0913  # what a route asks for
    batch: EmailBatch,
    principal: Sender,
    submission: SubmissionDep,
    worker: WorkerDep,
    tasks: BackgroundTasks,
    response: Response,
    key: IdempotencyKey = None,
) -> BatchAccepted:
    """Queue up to a thousand mails, all or none. What is wrong with one is told with its index."""
    for email in batch.emails:
        principal.require_sender(addr_spec(email.sender))
    asked = _idempotency(key, batch)
    accepted = await _find_earlier(principal, asked)
    if accepted is None:
        mails = await render_emails({("body", "emails", index): email for index, email in enumerate(batch.emails)})
        orders = [_new_email(email, mail, principal) for email, mail in zip(batch.emails, mails, strict=True)]
        accepted = await submission.submit_batch(orders, idempotency=asked)
    if accepted[0].replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(worker.wake_or_deliver)
    return BatchAccepted(data=[EmailAccepted.model_validate(each, from_attributes=True) for each in accepted])


@router.get("", summary="List e-mails", operation_id="list_emails", responses=error_responses(401, 403, 422))
async def list_(  # noqa: PLR0913  # what may be asked for
    principal: Reader,
    status: Status | None = None,
    to: Annotated[Recipient | None, Query(description="A recipient's bare address")] = None,
    tag: Annotated[TagFilter | None, Query(description="`key:value`", examples=["order:42"])] = None,
    after: UUID | None = None,
    limit: Limit = 20,
) -> EmailPage:
    """The caller's, newest first; for signed-in staff, everybody's."""
    wanted = EmailFilter(status=status, to=to, tag=tuple(tag.split(":", 1)) if tag else None)
    emails = await run_in_transaction(list_emails, wanted, PageRequest(after, limit), principal=principal)
    return EmailPage.of(emails, limit, cursor=lambda email: email.id)


@router.get("/{email_id}", summary="Get an e-mail", operation_id="get_email", responses=error_responses(401, 403, 404, 422))
async def get(email_id: EmailId, principal: Reader) -> EmailOut:
    """One mail, and where it is."""
    return EmailOut.model_validate(await run_in_transaction(get_email, email_id, principal=principal))


@router.get(
    "/{email_id}/events",
    summary="What happened",
    operation_id="list_email_events",
    responses=error_responses(401, 403, 404, 422),
    response_model_exclude_unset=True,  # as it is told everywhere
)
async def events(email_id: EmailId, principal: Reader) -> EventList:
    """All that happened to one mail, the oldest first."""
    told = await run_in_transaction(list_email_events, email_id, principal=principal)
    return EventList.model_validate({"data": told, "next": None}, from_attributes=True)


@router.post(
    "/{email_id}/cancel", summary="Cancel", operation_id="cancel_email", responses=error_responses(401, 403, 404, 409, 413, 422)
)
async def cancel(email_id: EmailId, principal: Sender) -> EmailOut:
    """Keep a mail that is queued or scheduled from being sent."""
    return EmailOut.model_validate(await run_in_transaction(cancel_email, email_id, principal=principal, now=datetime.now(UTC)))


@router.post(
    "/{email_id}/retry", summary="Retry", operation_id="retry_email", responses=error_responses(401, 403, 404, 409, 413, 422)
)
async def retry(email_id: EmailId, principal: Sender, worker: WorkerDep, tasks: BackgroundTasks) -> EmailOut:
    """Send a mail that has failed again."""
    email = await run_in_transaction(retry_email, email_id, principal=principal, now=datetime.now(UTC))
    tasks.add_task(worker.wake_or_deliver)
    return EmailOut.model_validate(email)


@router.patch(
    "/{email_id}",
    summary="Reschedule",
    operation_id="reschedule_email",
    responses=error_responses(400, 401, 403, 404, 409, 413, 422),
)
async def reschedule(
    email_id: EmailId, change: RescheduleRequest, principal: Sender, worker: WorkerDep, tasks: BackgroundTasks
) -> EmailOut:
    """Send a scheduled mail at another time."""
    now = datetime.now(UTC)
    email = await run_in_transaction(reschedule_email, email_id, at=change.scheduled_at, principal=principal, now=now)
    tasks.add_task(worker.wake_or_deliver)
    return EmailOut.model_validate(email)


def _idempotency(key: str | None, body: EmailIn | EmailBatch) -> Idempotency | None:
    """What is asked for under a key. No mail has the fingerprint of a batch: it has other fields."""
    return None if key is None else Idempotency(key, sha256(body.model_dump_json().encode()).hexdigest())


async def _find_earlier(principal: Principal, asked: Idempotency | None) -> list[SubmissionReceipt] | None:
    """What was answered before."""
    return (
        None
        if asked is None
        else await run_in_transaction(find_earlier_response, principal.owner_id, asked, now=datetime.now(UTC))
    )


def _new_email(email: EmailIn, mail: RenderedEmail, principal: Principal, idempotency: Idempotency | None = None) -> NewEmail:
    return NewEmail(
        mail.draft,
        owner_id=principal.owner_id,
        tags=email.tags,
        template_id=mail.template_id,
        scheduled_at=email.scheduled_at,
        idempotency=idempotency,
        quota_key=principal.quota_key,
    )
