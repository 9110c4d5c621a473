"""Access to the Prometheus metrics, and the state of the queue for them."""

import asyncio
from hmac import compare_digest
from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fastapi_app.dependencies import identify_caller, session_scheme
from project.auth.principal import InsufficientScope, NotAuthenticated
from project.bridge.database.read_transactions import run_in_read_transaction
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.delivery.queue_stats import QueueStats, read_queue_stats

READ_TIMEOUT_SECONDS = 5.0  # shorter than the usual timeout of a scrape, which is ten seconds

metrics_scheme = HTTPBearer(
    scheme_name="metrics_token",
    auto_error=False,
    description="Only for `GET /metrics`: the value of the setting `METRICS_TOKEN`. Not an API key or an access token.",
)


async def require_metrics_access(
    connection: HTTPConnection,
    response: Response,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(metrics_scheme)],
    _session: Annotated[str | None, Depends(session_scheme)],
) -> None:
    """Allow `METRICS_TOKEN` and staff sessions. Raises `NotAuthenticated`, `InsufficientScope`."""
    if token is not None and _is_metrics_token(token.credentials):
        return
    principal = await identify_caller(connection, response)
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    if principal.kind != "session" or not principal.can_view_all:
        raise InsufficientScope(
            "Metrics require METRICS_TOKEN, or the session of a staff user with the permission to view emails."
        )


def _is_metrics_token(credentials: str) -> bool:
    token = settings.ENV.metrics_token
    return token is not None and compare_digest(credentials.encode(), token.get_secret_value().encode())


async def find_queue_stats() -> QueueStats | None:
    """Return the state of the queue, or None if the database is unavailable: then the other metrics are needed most."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            return await run_in_read_transaction(read_queue_stats)
    except (TimeoutError, *DATABASE_UNAVAILABLE_ERRORS):
        return None
