"""Whom a call is counted for: the key, the user, or the address of who proves to be neither."""

from fastapi.requests import HTTPConnection

from project.accounts.addresses import site_of
from project.accounts.limits import Allowance, count_call
from project.accounts.principal import Principal


async def count_caller(connection: HTTPConnection, who: Principal | None) -> Allowance | None:
    """Count a call for who makes it. Raises `RateLimited`."""
    if who is None:
        return await count_call("anonymous", address_of(connection))
    return await count_call("key" if who.kind == "key" else "user", who.caller_id)


async def count_login(connection: HTTPConnection, username: str) -> None:
    """Count a login for its address and, from wherever it comes, for its user. Raises `RateLimited`."""
    await count_call("login", address_of(connection))
    await count_call("login", f"user:{username[:150]}")  # none has a longer name


def address_of(connection: HTTPConnection) -> str:
    """The address that a call is counted for."""
    return site_of(connection.client.host if connection.client else None) or "unknown"
