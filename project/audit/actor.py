"""The actor of the current request: the caller who makes the changes that the audit trail records."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest

from project.auth.principal import Principal


@dataclass(frozen=True)
class Actor:
    """A caller by any kind of credential (`key`, `token` or `session`), or the command line."""

    name: str
    kind: str
    ip_address: str | None = None


COMMAND_LINE = Actor("command line", "command")
_current: ContextVar[Actor | HttpRequest | None] = ContextVar("audit_actor", default=None)


def current_actor() -> Actor:
    """Return the actor of the current request, or the command line outside of requests."""
    current = _current.get()
    if not isinstance(current, HttpRequest):
        return current or COMMAND_LINE
    # Read at the time of the change, because a login during the request changes the user.
    user = getattr(current, "user", None)
    name = user.get_username() if user is not None and user.is_authenticated else ""
    return Actor(name, "session" if name else "", current.META.get("REMOTE_ADDR"))


def set_api_actor(principal: Principal, ip_address: str | None) -> None:
    """Make the caller of the current API request the actor. A server handles each request in a context of its own."""
    _current.set(Actor(principal.audit_name, principal.kind, ip_address))


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Make a caller the actor while this context is open, for work in the background that the caller has started."""
    token = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def acting_in(request: HttpRequest) -> Iterator[None]:
    """Make the user of a Django request the actor while this context is open."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)
