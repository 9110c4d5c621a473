"""E-mails: send, look, cancel, retry, reschedule."""

from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Header, Path, Query, Response, Security
from pydantic import AfterValidator, Field

from fastapi_app.deps import OpenIntake, RunningEngine, caller
from fastapi_app.emails.schemas import Batch, BatchAccepted, EmailAccepted, EmailIn, EmailOut, EmailPage, Reschedule
from fastapi_app.errors import Problem, ValidationProblem, problems
from fastapi_app.events.schemas import Events
from fastapi_app.fields import Storable
from fastapi_app.pages import Limit
from fastapi_app.templates.mails import Made, made
from project.accounts.principal import Principal
from project.bridge import database
from project.bridge.background import BackgroundRoute
from project.outbox import mime
from project.outbox.accept import Accepted, Idempotency, Order, earlier_answers
from project.outbox.addresses import normal_address
from project.outbox.change import cancel_email, reschedule_email, retry_email
from project.outbox.queries import Filter, Page, events_of, get_email, list_emails
from project.outbox.states import Status


def _as_stored(address: str) -> str:
    """An address as a recipient's is stored; what is none is nobody's."""
    with suppress(ValueError):
        return normal_address(address)
    return address


router = APIRouter(route_class=BackgroundRoute, prefix="/emails", tags=["emails"])

Id = Annotated[UUID, Path(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])]
Sender = Annotated[Principal, Security(caller, scopes=["emails:send"])]
Reader = Annotated[Principal, Security(caller, scopes=["emails:read"])]
Recipient = Annotated[Storable, AfterValidator(_as_stored)]
Pair = Annotated[str, Field(pattern=r"^[^:\x00]+:[^\x00]+$")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x20-\x7e]{1,255}$", examples=["order-42"])]
REPLAYED: dict[str, Any] = {
    "description": "`true` if this is the answer to an earlier request with the same key",
    "schema": {"const": "true"},
}
NEXT = ("get_email", "list_email_events", "cancel_email", "retry_email", "reschedule_email")
LINKS = {name: {"operationId": name, "parameters": {"email_id": "$response.body#/id"}} for name in NEXT}
SENT: dict[int | str, dict[str, Any]] = problems(400, 401, 403, 413) | {
    202: {"headers": {"Idempotent-Replayed": REPLAYED}},
    422: {"model": ValidationProblem | Problem, "description": "What is wrong, or `idempotency_key_reused`"},
}
SENT_ONE = SENT | {202: {**SENT[202], "links": LINKS}}


@router.post("", summary="Send an e-mail", operation_id="send_email", status_code=202, responses=SENT_ONE)
async def send(  # noqa: PLR0913  # what a route asks for
    email: EmailIn,
    who: Sender,
    intake: OpenIntake,
    engine: RunningEngine,
    tasks: BackgroundTasks,
    response: Response,
    key: Key = None,
) -> EmailAccepted:
    """Queue a mail. When the 202 leaves, it is in the database as the bytes that will be sent."""
    who.require_sender(mime.bare(email.sender))
    asked = _asked(key, email)
    # Asked first where the template may have changed since, so that it would be refused now.
    earlier = await _earlier(who, asked) if email.template is not None else None
    if earlier is None:
        (mail,) = await made({("body",): email})
        accepted = await intake.accept(_order(email, mail, who, asked))
    else:
        (accepted,) = earlier
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(engine.deliver_soon)
    return EmailAccepted.model_validate(accepted, from_attributes=True)


@router.post("/batch", summary="Send many", operation_id="send_emails", status_code=202, responses=SENT)
async def send_batch(  # noqa: PLR0913  # what a route asks for
    batch: Batch,
    who: Sender,
    intake: OpenIntake,
    engine: RunningEngine,
    tasks: BackgroundTasks,
    response: Response,
    key: Key = None,
) -> BatchAccepted:
    """Queue up to a thousand mails, all or none. What is wrong with one is told with its index."""
    for email in batch.emails:
        who.require_sender(mime.bare(email.sender))
    asked = _asked(key, batch)
    accepted = await _earlier(who, asked)
    if accepted is None:
        mails = await made({("body", "emails", index): email for index, email in enumerate(batch.emails)})
        orders = [_order(email, mail, who) for email, mail in zip(batch.emails, mails, strict=True)]
        accepted = await intake.accept_batch(orders, asked=asked)
    if accepted[0].replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(engine.deliver_soon)
    return BatchAccepted(data=[EmailAccepted.model_validate(each, from_attributes=True) for each in accepted])


@router.get("", summary="List e-mails", operation_id="list_emails", responses=problems(401, 403, 422))
async def list_(  # noqa: PLR0913  # what may be asked for
    who: Reader,
    status: Status | None = None,
    to: Annotated[Recipient | None, Query(description="A recipient's bare address")] = None,
    tag: Annotated[Pair | None, Query(description="`key:value`", examples=["order:42"])] = None,
    after: UUID | None = None,
    limit: Limit = 20,
) -> EmailPage:
    """The caller's, newest first; for signed-in staff, everybody's."""
    wanted = Filter(status=status, to=to, tag=tuple(tag.split(":", 1)) if tag else None)
    emails = await database.run(list_emails, wanted, Page(after, limit), caller=who)
    return EmailPage.of(emails, limit, cursor=lambda email: email.id)


@router.get("/{email_id}", summary="Get an e-mail", operation_id="get_email", responses=problems(401, 403, 404, 422))
async def get(email_id: Id, who: Reader) -> EmailOut:
    """One mail, and where it is."""
    return EmailOut.model_validate(await database.run(get_email, email_id, caller=who))


@router.get(
    "/{email_id}/events",
    summary="What happened",
    operation_id="list_email_events",
    responses=problems(401, 403, 404, 422),
    response_model_exclude_unset=True,  # as it is told everywhere
)
async def events(email_id: Id, who: Reader) -> Events:
    """All that happened to one mail, the oldest first."""
    told = await database.run(events_of, email_id, caller=who)
    return Events.model_validate({"data": told, "next": None}, from_attributes=True)


@router.post(
    "/{email_id}/cancel", summary="Cancel", operation_id="cancel_email", responses=problems(401, 403, 404, 409, 413, 422)
)
async def cancel(email_id: Id, who: Sender) -> EmailOut:
    """Keep a mail that is queued or scheduled from being sent."""
    return EmailOut.model_validate(await database.run(cancel_email, email_id, caller=who, now=datetime.now(UTC)))


@router.post("/{email_id}/retry", summary="Retry", operation_id="retry_email", responses=problems(401, 403, 404, 409, 413, 422))
async def retry(email_id: Id, who: Sender, engine: RunningEngine, tasks: BackgroundTasks) -> EmailOut:
    """Send a mail that has failed again."""
    email = await database.run(retry_email, email_id, caller=who, now=datetime.now(UTC))
    tasks.add_task(engine.deliver_soon)
    return EmailOut.model_validate(email)


@router.patch(
    "/{email_id}", summary="Reschedule", operation_id="reschedule_email", responses=problems(400, 401, 403, 404, 409, 413, 422)
)
async def reschedule(email_id: Id, change: Reschedule, who: Sender, engine: RunningEngine, tasks: BackgroundTasks) -> EmailOut:
    """Send a scheduled mail at another time."""
    now = datetime.now(UTC)
    email = await database.run(reschedule_email, email_id, at=change.scheduled_at, caller=who, now=now)
    tasks.add_task(engine.deliver_soon)
    return EmailOut.model_validate(email)


def _asked(key: str | None, body: EmailIn | Batch) -> Idempotency | None:
    """What is asked for under a key. No mail has the fingerprint of a batch: it has other fields."""
    return None if key is None else Idempotency(key, sha256(body.model_dump_json().encode()).hexdigest())


async def _earlier(who: Principal, asked: Idempotency | None) -> list[Accepted] | None:
    """What was answered before."""
    return None if asked is None else await database.run(earlier_answers, who.caller_id, asked, now=datetime.now(UTC))


def _order(email: EmailIn, mail: Made, who: Principal, idempotency: Idempotency | None = None) -> Order:
    return Order(
        mail.draft,
        caller_id=who.caller_id,
        tags=email.tags,
        template_id=mail.template_id,
        scheduled_at=email.scheduled_at,
        idempotency=idempotency,
        quota_key=who.quota_key,
    )
