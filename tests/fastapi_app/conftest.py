"""Fixtures for credentials, for live events, and for real transports, which send emails to other machines."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from pytest_django import Settings
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from fastapi_app.main import app
from project.accounts.models import User
from project.api_keys.keys import create_key
from project.asgi import application
from project.bridge.database.transactions import close_threads
from project.config.email_url import Relay
from tests.conftest import PASSWORD
from tests.mailers import use_backend
from tests.smtp import Sink

GetToken = Callable[..., str]
LogIn = Callable[[User], Browser]

SMTP = "django.core.mail.backends.smtp.EmailBackend"


def bearer(token: str) -> dict[str, str]:
    """Return the Authorization header for a token or API key."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token(client: TestClient) -> GetToken:
    """Return a function that gets an access token for a user. Without `scopes`, the token has all of the user's scopes."""

    def get(user: User, *scopes: str) -> str:
        form = {"username": user.username, "password": PASSWORD, "scope": " ".join(scopes)}
        access_token: str = client.post("/api/token", data=form).json()["access_token"]
        return access_token

    return get


@pytest.fixture
def headers(owner: User, token: GetToken) -> dict[str, str]:
    """Return the headers of a request by the owner, who is an administrator."""
    return bearer(token(owner))


@pytest.fixture
def stranger_headers(token: GetToken) -> dict[str, str]:
    """Return the headers of a request by a user who may send and read emails, but is not staff."""
    user = User.objects.create_user("stranger", password=PASSWORD)
    for codename in ("add_email", "view_email"):
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return bearer(token(user))


@pytest.fixture
def log_in(client: TestClient) -> LogIn:
    """Return a function that logs a user in to Django and sets the session cookie on the API client, as in a browser."""

    def log_in(user: User) -> Browser:
        browser = Browser()
        browser.force_login(user)
        client.cookies.set("sessionid", browser.cookies["sessionid"].value)
        return browser

    return log_in


@pytest.fixture
def client_with_event_stream() -> Iterator[TestClient]:
    """Run the application with its event stream, but without the delivery worker, because the worker would add events."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with app.state.event_stream.running():
            yield
        close_threads()

    with_event_stream = Starlette(lifespan=lifespan)

    async def route_scope(scope: Scope, receive: Receive, send: Send) -> None:
        await (with_event_stream if scope["type"] == "lifespan" else application)(scope, receive, send)

    with TestClient(route_scope) as client:
        yield client


@pytest.fixture
def events_key(db: None) -> str:
    """Return an API key that may read events."""
    return create_key("shop", scopes=["events:read"])


@pytest.fixture
def real_transport(settings: Settings) -> None:
    """Configure a transport that sends emails to other machines, so that the API requires a credential for sending."""
    use_backend(settings, SMTP)


@pytest.fixture
def relay(real_transport: None, sink: Sink, settings: Settings) -> Sink:
    """Run an SMTP server and configure it as the relay."""
    settings.RELAYS = [Relay("127.0.0.1", sink.port)]
    return sink
