"""Rate limits per API key and per user, and per client network for callers without a valid credential."""

from fastapi.requests import HTTPConnection

from project.accounts.login_rate_limit import login_rate_limit_subjects
from project.auth.principal import Principal
from project.bridge.sessions import django_request
from project.limits.client_network import rate_limit_network
from project.limits.rate_limits import RateLimitStatus, hit


async def enforce_caller_limit(connection: HTTPConnection, principal: Principal | None) -> RateLimitStatus | None:
    """Count a request against its caller's limit. Return the status of the limit, or None if there is no limit.

    Raises `RateLimited`.
    """
    if principal is None:
        return await hit("anonymous", client_network(connection))
    return await hit("key" if principal.kind == "key" else "user", principal.owner_id)


async def enforce_login_limit(connection: HTTPConnection, username: str) -> None:
    """Count a login attempt against the limits of the client network and of the user. Raises `RateLimited`."""
    for subject in login_rate_limit_subjects(django_request(connection), username):
        await hit("login", subject)


def client_network(connection: HTTPConnection) -> str:
    """Return the network that a request is counted for, or "unknown" for a client without an IP address."""
    return rate_limit_network(connection.client.host if connection.client else None) or "unknown"
