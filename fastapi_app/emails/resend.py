"""Route that sends an email again."""

from datetime import UTC, datetime
from hashlib import sha256

from fastapi import BackgroundTasks, Response

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import WorkerDep
from fastapi_app.emails.idempotency import IdempotencyKey
from fastapi_app.emails.routes import SUBMIT_ONE_RESPONSES, EmailId, SendingPrincipal
from fastapi_app.emails.schemas import EmailAccepted
from fastapi_app.error_responses import openapi_errors
from project.bridge.database.transactions import run_in_transaction
from project.emails.idempotency import Idempotency
from project.emails.resend import resend_email

router = ApiRouter(prefix="/emails", tags=["emails"])


@router.post(
    "/{email_id}/resend",
    summary="Send an email again",
    operation_id="resend_email",
    status_code=202,
    responses={code: each for code, each in SUBMIT_ONE_RESPONSES.items() if code != 400} | openapi_errors(404, 409),
)
async def resend(  # noqa: PLR0913  # FastAPI passes dependencies as arguments
    email_id: EmailId,
    principal: SendingPrincipal,
    worker: WorkerDep,
    tasks: BackgroundTasks,
    response: Response,
    key: IdempotencyKey = None,
) -> EmailAccepted:
    """Queue a copy of an email that was sent, bounced, failed, canceled or suppressed.

    The copy is a new email with its own ID, Message-ID and Date, and names the first email in `resent_from`. It is sent to all
    recipients of the first email that are not suppressed now.
    """
    idempotency = None if key is None else Idempotency(key, sha256(f"resend {email_id}".encode()).hexdigest())
    result = await run_in_transaction(resend_email, email_id, principal=principal, now=datetime.now(UTC), idempotency=idempotency)
    if result.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    tasks.add_task(worker.wake_or_deliver)
    return EmailAccepted.model_validate(result, from_attributes=True)
