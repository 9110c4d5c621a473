"""What routes ask for with `Depends`: the caller, the way in for mail, the running engine, the tail of the events."""

from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param

from fastapi_app.rate_limit import enforce_caller_limit
from project.accounts.models import User
from project.api_keys.cache import authenticate_api_key_cached
from project.api_keys.keys import KEY_PREFIX
from project.audit.writer import AuditWriter
from project.auth.access_tokens import authenticate_access_token
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal
from project.auth.scopes import SCOPES
from project.auth.session import authenticate_session_user
from project.bridge.database.transactions import run_in_transaction
from project.bridge.sessions import session_user
from project.delivery.worker import DeliveryWorker
from project.emails.submission_queue import SubmissionService
from project.events.stream import EventStream
from project.transports.factory import is_local_only

token_scheme = OAuth2PasswordBearer(
    "/api/token", scheme_name="token", scopes=SCOPES, auto_error=False, description="From `POST /api/token`, or an API key."
)
session_scheme = APIKeyCookie(
    name=settings.SESSION_COOKIE_NAME,
    scheme_name="session",
    auto_error=False,
    description="Of a user signed in at /admin/. Unsafe methods also need Django's CSRF token in `X-CSRFToken`.",
)


async def optional_caller(
    connection: HTTPConnection,
    response: Response,
    _token: Annotated[str | None, Depends(token_scheme)],  # both say so in OpenAPI
    _session: Annotated[str | None, Depends(session_scheme)],
) -> Principal | None:
    """Who is calling, if anyone says so. A credential that is not good is refused, never overlooked.

    The call is counted for its caller, or for its address if it proves none.
    """
    try:
        principal = await authenticate(connection)
    except NotAuthenticated:
        await enforce_caller_limit(connection, None)
        raise
    if left := await enforce_caller_limit(connection, principal):
        response.headers.update(left.headers)
    if principal is not None:
        response.headers["Cache-Control"] = "no-store"  # it may hold what is the caller's alone
    return principal


async def authenticate(connection: HTTPConnection) -> Principal | None:
    """Who sent a request or opened a socket, by its header or its cookie. Raises `NotAuthenticated`.

    What a header is refused for goes into the audit trail.
    """
    if "authorization" in connection.headers:
        scheme, token = get_authorization_scheme_param(connection.headers["authorization"])
        if scheme.lower() != "bearer":
            refusal = NotAuthenticated(
                "The Authorization header is not of the form: Bearer <token>.", reason=AuthFailureReason.BAD_SCHEME
            )
            await _audit(connection, refusal)
            raise refusal
        return await authenticate_bearer(connection, token)
    user = await session_user(connection)
    return await run_in_transaction(authenticate_session_user, user) if isinstance(user, User) else None


async def authenticate_bearer(connection: HTTPConnection, token: str) -> Principal:
    """Who holds an API key or an access token that came this way. Raises `NotAuthenticated`, which goes into the audit trail."""
    try:
        if token.startswith(KEY_PREFIX):
            return await authenticate_api_key_cached(token)
        return await run_in_transaction(authenticate_access_token, token)
    except NotAuthenticated as refusal:
        await _audit(connection, refusal)
        raise


async def _audit(connection: HTTPConnection, refusal: NotAuthenticated) -> None:
    audit_writer: AuditWriter = connection.app.state.audit_writer
    await audit_writer.record(refusal, ip_address=connection.client.host if connection.client else None)


async def require_caller(wanted: SecurityScopes, principal: Annotated[Principal | None, Depends(optional_caller)]) -> Principal:
    """Who is calling, with every scope the route asks for."""
    return _require_scopes(principal, wanted)


async def require_sender(
    wanted: SecurityScopes, principal: Annotated[Principal | None, Depends(optional_caller)]
) -> Principal | None:
    """The same, but it may be nobody while mail cannot leave this machine."""
    return None if principal is None and is_local_only() else _require_scopes(principal, wanted)


def _require_scopes(principal: Principal | None, wanted: SecurityScopes) -> Principal:
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    principal.require(*wanted.scopes)
    return principal


async def get_delivery_worker(connection: HTTPConnection) -> DeliveryWorker:
    """The application's engine."""
    found: DeliveryWorker = connection.app.state.delivery_worker
    return found


async def get_submission(connection: HTTPConnection) -> SubmissionService:
    """The application's way in for mail."""
    found: SubmissionService = connection.app.state.submission
    return found


async def get_event_stream(connection: HTTPConnection) -> EventStream:
    """The application's tail of the events."""
    found: EventStream = connection.app.state.event_stream
    return found


Caller = Annotated[Principal, Security(require_caller)]
SendingCaller = Annotated[Principal | None, Security(require_sender, scopes=["emails:send"])]
WorkerDep = Annotated[DeliveryWorker, Depends(get_delivery_worker)]
EventStreamDep = Annotated[EventStream, Depends(get_event_stream)]
SubmissionDep = Annotated[SubmissionService, Depends(get_submission)]
