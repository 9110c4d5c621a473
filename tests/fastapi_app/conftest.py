"""What callers hold: tokens, keys and sessions; events as they happen; a transport with which mail leaves the machine."""

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
from tests.smtp import Sink

GetToken = Callable[..., str]
SignIn = Callable[[User], Browser]

SMTP = "django.core.mail.backends.smtp.EmailBackend"


def bearer(token: str) -> dict[str, str]:
    """The header of a caller with a token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token(client: TestClient) -> GetToken:
    """Get an access token as Authorize does. All of the user's scopes, if none is named."""

    def get(user: User, *scopes: str) -> str:
        form = {"username": user.username, "password": PASSWORD, "scope": " ".join(scopes)}
        text: str = client.post("/api/token", data=form).json()["access_token"]
        return text

    return get


@pytest.fixture
def headers(owner: User, token: GetToken) -> dict[str, str]:
    """The administrator's credential."""
    return bearer(token(owner))


@pytest.fixture
def stranger_headers(token: GetToken) -> dict[str, str]:
    """Somebody who may send and read, and is no staff."""
    user = User.objects.create_user("stranger", password=PASSWORD)
    for codename in ("add_email", "view_email"):
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return bearer(token(user))


@pytest.fixture
def sign_in(client: TestClient) -> SignIn:
    """Sign a user in to Django, and give the API's client the same session cookie, as a browser has both."""

    def sign_in(user: User) -> Browser:
        browser = Browser()
        browser.force_login(user)
        client.cookies.set("sessionid", browser.cookies["sessionid"].value)
        return browser

    return sign_in


@pytest.fixture
def live() -> Iterator[TestClient]:
    """The application with its tail, and without the engine, which would add events of its own."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with app.state.event_stream.running():
            yield
        close_threads()

    with_tail = Starlette(lifespan=lifespan)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (with_tail if scope["type"] == "lifespan" else application)(scope, receive, send)

    with TestClient(either) as client:
        yield client


@pytest.fixture
def events_key(db: None) -> str:
    """A program's, that may read events."""
    return create_key("shop", scopes=["events:read"])


@pytest.fixture
def real_transport(settings: Settings) -> None:
    """Mail can leave the machine, so that sending needs a credential."""
    settings.EMAIL_BACKEND = SMTP


@pytest.fixture
def relay(real_transport: None, sink: Sink, settings: Settings) -> Sink:
    """A real SMTP server at the other end of the real transport."""
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
    settings.RELAY = Relay("127.0.0.1", sink.port)
    return sink
