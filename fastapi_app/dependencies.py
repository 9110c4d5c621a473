"""FastAPI dependencies: the authenticated caller, the delivery worker, the submission service and the event stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyCookie, HTTPBearer, OAuth2PasswordBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param

from fastapi_app.query_parameters import reject_unknown_query
from fastapi_app.rate_limit import enforce_caller_limit
from fastapi_app.session_activity import record_session_activity
from project.accounts.models import User
from project.api_keys.cache import authenticate_api_key_cached
from project.api_keys.keys import KEY_PREFIX
from project.audit.actor import set_api_actor
from project.audit.writer import AuditWriter
from project.auth.access_tokens import authenticate_access_token
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal
from project.auth.scopes import SCOPES
from project.auth.session_principal import authenticate_session_user
from project.bridge.database.read_transactions import run_lookup
from project.bridge.sessions import load_session
from project.delivery.worker import DeliveryWorker
from project.emails.submission_service import SubmissionService
from project.events.stream import EventStream
from project.transports.factory import delivers_only_locally

CALLER_IN_SCOPE = "mailrail.caller"  # key of the `IdentifiedCaller` of a request in its ASGI scope

api_key_scheme = HTTPBearer(
    scheme_name="api_key",
    auto_error=False,
    description="An API key: `Authorization: Bearer mr_…`. Create one in the admin, or with `manage.py create_api_key`.",
)
token_scheme = OAuth2PasswordBearer(
    "/api/token",
    scheme_name="token",
    scopes=SCOPES,
    auto_error=False,
    description="An access token from `POST /api/token`, for a user with a password.",
)
session_scheme = APIKeyCookie(
    name=settings.SESSION_COOKIE_NAME,
    scheme_name="session",
    auto_error=False,
    description="The session of a user logged in at /admin/. Unsafe methods also need Django's CSRF token in `X-CSRFToken`.",
)


# They are not dependencies: `ApiRoute` only declares them for OpenAPI. As dependencies, they would take a tenth of the time of
# accepting an email, and their results would not be used.
CALLER_SCHEMES = (api_key_scheme, token_scheme, session_scheme)


@dataclass(frozen=True)
class IdentifiedCaller:
    """The caller of a request, or None without a credential, and headers for the response."""

    principal: Principal | None
    headers: Mapping[str, str]


async def identify_caller(connection: HTTPConnection, response: Response) -> Principal | None:
    """Return the caller, or None without a credential. Raises `NotAuthenticated` for an invalid credential, and `RateLimited`.

    The request is counted against the rate limit of the caller, or of the client network if the credential is missing or invalid.
    """
    caller = await _identify_once(connection)
    response.headers.update(caller.headers)
    return caller.principal


async def settle_credential(connection: HTTPConnection, scopes: Sequence[str]) -> None:
    """Check the caller and its scopes before the body is read. Raises the same errors as `require_principal`."""
    _require_scopes((await _identify_once(connection)).principal, scopes)


async def _identify_once(connection: HTTPConnection) -> IdentifiedCaller:
    if CALLER_IN_SCOPE not in connection.scope:
        connection.scope[CALLER_IN_SCOPE] = await _identify(connection)
    caller: IdentifiedCaller = connection.scope[CALLER_IN_SCOPE]
    return caller


async def _identify(connection: HTTPConnection) -> IdentifiedCaller:
    try:
        principal = await authenticate(connection)
    except NotAuthenticated:
        await enforce_caller_limit(connection, None)
        raise
    rate_limit = await enforce_caller_limit(connection, principal)
    headers = dict(rate_limit.headers) if rate_limit else {}
    if principal is not None:
        set_api_actor(principal, connection.client.host if connection.client else None)
        if principal.kind == "session":
            await record_session_activity(connection.state.session_request)
        headers["Cache-Control"] = "no-store"  # the response may contain the caller's own data
    return IdentifiedCaller(principal, headers)


async def authenticate(connection: HTTPConnection) -> Principal | None:
    """Return the caller that the Authorization header or the session cookie identifies, or None if both are missing.

    Raises `NotAuthenticated`. A rejected header is recorded in the audit trail.
    """
    if "authorization" in connection.headers:
        scheme, token = get_authorization_scheme_param(connection.headers["authorization"])
        if scheme.lower() != "bearer":
            rejection = NotAuthenticated(
                "The Authorization header must have the form: Bearer <token>.", reason=AuthFailureReason.BAD_SCHEME
            )
            await _audit(connection, rejection)
            raise rejection
        return await authenticate_bearer(connection, token)
    session = await load_session(connection)
    if session is None or not isinstance(session.user, User):
        return None
    connection.state.session_request = session.request
    expires_at = getattr(session.request.session, "expires_at", None)
    return await run_lookup(authenticate_session_user, session.user, expires_at=expires_at)


async def authenticate_bearer(connection: HTTPConnection, token: str) -> Principal:
    """Return the principal of an API key or access token. Raises `NotAuthenticated` and records it in the audit trail."""
    try:
        if token.startswith(KEY_PREFIX):
            return await authenticate_api_key_cached(token)
        return await run_lookup(authenticate_access_token, token)
    except NotAuthenticated as rejection:
        await _audit(connection, rejection)
        raise


async def _audit(connection: HTTPConnection, rejection: NotAuthenticated) -> None:
    audit_writer: AuditWriter = connection.app.state.audit_writer
    await audit_writer.record(rejection, ip_address=connection.client.host if connection.client else None)


async def require_principal(connection: HTTPConnection, response: Response, required_scopes: SecurityScopes) -> Principal:
    """Return the caller. Raises `NotAuthenticated`, or `InsufficientScope` if the caller lacks a scope of the route."""
    caller = _require_scopes(await identify_caller(connection, response), required_scopes.scopes)
    await reject_unknown_query(connection)
    return caller


async def require_sending_principal(
    connection: HTTPConnection, response: Response, required_scopes: SecurityScopes
) -> Principal | None:
    """Return the caller like `require_principal`, but allow anonymous callers while emails cannot leave this machine."""
    principal = await identify_caller(connection, response)
    caller = None if principal is None and delivers_only_locally() else _require_scopes(principal, required_scopes.scopes)
    await reject_unknown_query(connection)
    return caller


def _require_scopes(principal: Principal | None, scopes: Sequence[str]) -> Principal:
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    principal.require(*scopes)
    return principal


async def get_delivery_worker(connection: HTTPConnection) -> DeliveryWorker:
    """Return the application's delivery worker."""
    worker: DeliveryWorker = connection.app.state.delivery_worker
    return worker


@dataclass(frozen=True)
class SendingServices:
    """The services that a route needs to send emails. One dependency takes less time than two."""

    submission: SubmissionService
    worker: DeliveryWorker


async def get_sending_services(connection: HTTPConnection) -> SendingServices:
    """Return the application's submission service and delivery worker."""
    return SendingServices(connection.app.state.submission, connection.app.state.delivery_worker)


async def get_event_stream(connection: HTTPConnection) -> EventStream:
    """Return the application's event stream."""
    stream: EventStream = connection.app.state.event_stream
    return stream


Caller = Annotated[Principal, Security(require_principal)]
SendingCaller = Annotated[Principal | None, Security(require_sending_principal, scopes=["emails:send"])]
WorkerDep = Annotated[DeliveryWorker, Depends(get_delivery_worker)]
EventStreamDep = Annotated[EventStream, Depends(get_event_stream)]
SendingDep = Annotated[SendingServices, Depends(get_sending_services)]
