"""What routes ask for with `Depends`: the caller, the way in for mail, the running engine, the tail of the events."""

from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param

from fastapi_app.throttle import count_caller
from project.accounts.keys import PREFIX
from project.accounts.known_keys import principal_of_known_key
from project.accounts.models import User
from project.accounts.principal import NotAuthenticated, Principal, Why
from project.accounts.scopes import SCOPES
from project.accounts.tokens import principal_of_token
from project.accounts.two_factor import principal_of_user
from project.audit.clerk import Clerk
from project.bridge import database
from project.bridge.sessions import session_user
from project.outbox.engine import Engine
from project.outbox.intake import Intake
from project.outbox.live import Tail
from project.outbox.transports.choice import stays_here

token_scheme = OAuth2PasswordBearer(
    "/api/token", scheme_name="token", scopes=SCOPES, auto_error=False, description="From `POST /api/token`, or an API key."
)
session_scheme = APIKeyCookie(
    name=settings.SESSION_COOKIE_NAME,
    scheme_name="session",
    auto_error=False,
    description="Of a user signed in at /admin/. Unsafe methods also need Django's CSRF token in `X-CSRFToken`.",
)


async def caller_if_any(
    connection: HTTPConnection,
    response: Response,
    _token: Annotated[str | None, Depends(token_scheme)],  # both say so in OpenAPI
    _session: Annotated[str | None, Depends(session_scheme)],
) -> Principal | None:
    """Who is calling, if anyone says so. A credential that is not good is refused, never overlooked.

    The call is counted for its caller, or for its address if it proves none.
    """
    try:
        who = await principal_of(connection)
    except NotAuthenticated:
        await count_caller(connection, None)
        raise
    if left := await count_caller(connection, who):
        response.headers.update(left.headers)
    if who is not None:
        response.headers["Cache-Control"] = "no-store"  # it may hold what is the caller's alone
    return who


async def principal_of(connection: HTTPConnection) -> Principal | None:
    """Who sent a request or opened a socket, by its header or its cookie. Raises `NotAuthenticated`.

    What a header is refused for goes into the audit trail.
    """
    if "authorization" in connection.headers:
        scheme, token = get_authorization_scheme_param(connection.headers["authorization"])
        if scheme.lower() != "bearer":
            refusal = NotAuthenticated("The Authorization header is not of the form: Bearer <token>.", why=Why.BAD_SCHEME)
            await _note(connection, refusal)
            raise refusal
        return await principal_of_bearer(connection, token)
    user = await session_user(connection)
    return await database.run(principal_of_user, user) if isinstance(user, User) else None


async def principal_of_bearer(connection: HTTPConnection, token: str) -> Principal:
    """Who holds an API key or an access token that came this way. Raises `NotAuthenticated`, which goes into the audit trail."""
    try:
        if token.startswith(PREFIX):
            return await principal_of_known_key(token)
        return await database.run(principal_of_token, token)
    except NotAuthenticated as refusal:
        await _note(connection, refusal)
        raise


async def _note(connection: HTTPConnection, refusal: NotAuthenticated) -> None:
    clerk: Clerk = connection.app.state.clerk
    await clerk.note(refusal, address=connection.client.host if connection.client else None)


async def caller(wanted: SecurityScopes, who: Annotated[Principal | None, Depends(caller_if_any)]) -> Principal:
    """Who is calling, with every scope the route asks for."""
    return _checked(who, wanted)


async def sender(wanted: SecurityScopes, who: Annotated[Principal | None, Depends(caller_if_any)]) -> Principal | None:
    """The same, but it may be nobody while mail cannot leave this machine."""
    return None if who is None and stays_here() else _checked(who, wanted)


def _checked(who: Principal | None, wanted: SecurityScopes) -> Principal:
    if who is None:
        raise NotAuthenticated("Not authenticated.")
    who.require(*wanted.scopes)
    return who


async def engine(connection: HTTPConnection) -> Engine:
    """The application's engine."""
    found: Engine = connection.app.state.engine
    return found


async def intake(connection: HTTPConnection) -> Intake:
    """The application's way in for mail."""
    found: Intake = connection.app.state.intake
    return found


async def tail(connection: HTTPConnection) -> Tail:
    """The application's tail of the events."""
    found: Tail = connection.app.state.tail
    return found


Caller = Annotated[Principal, Security(caller)]
SendingCaller = Annotated[Principal | None, Security(sender, scopes=["emails:send"])]
RunningEngine = Annotated[Engine, Depends(engine)]
LiveTail = Annotated[Tail, Depends(tail)]
OpenIntake = Annotated[Intake, Depends(intake)]
