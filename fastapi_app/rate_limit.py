"""Whom a call is counted for: the key, the user, or the address of who proves to be neither."""

from fastapi.requests import HTTPConnection

from project.auth.principal import Principal
from project.limits.client_network import rate_limit_network
from project.limits.rate_limits import RateLimitStatus, hit


async def enforce_caller_limit(connection: HTTPConnection, principal: Principal | None) -> RateLimitStatus | None:
    """Count a call for who makes it. Raises `RateLimited`."""
    if principal is None:
        return await hit("anonymous", client_network(connection))
    return await hit("key" if principal.kind == "key" else "user", principal.owner_id)


async def enforce_login_limit(connection: HTTPConnection, username: str) -> None:
    """Count a login for its address and, from wherever it comes, for its user. Raises `RateLimited`."""
    await hit("login", client_network(connection))
    await hit("login", f"user:{username[:150]}")  # none has a longer name


def client_network(connection: HTTPConnection) -> str:
    """The address that a call is counted for."""
    return rate_limit_network(connection.client.host if connection.client else None) or "unknown"
