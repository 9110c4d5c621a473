"""What callers hold: tokens and sessions; and a transport with which mail leaves the machine."""

from collections.abc import Callable, Iterator

import pytest
from django.test import Client as Browser
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.relay import Relay
from tests.conftest import PASSWORD
from tests.smtp import Sink, smtp_sink

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
def sign_in(client: TestClient) -> SignIn:
    """Sign a user in to Django, and give the API's client the same session cookie, as a browser has both."""

    def sign_in(user: User) -> Browser:
        browser = Browser()
        browser.force_login(user)
        client.cookies.set("sessionid", browser.cookies["sessionid"].value)
        return browser

    return sign_in


@pytest.fixture
def real_transport(settings: Settings) -> None:
    """Mail can leave the machine, so that sending needs a credential."""
    settings.EMAIL_BACKEND = SMTP


@pytest.fixture
def relay(real_transport: None, settings: Settings) -> Iterator[Sink]:
    """A real SMTP server at the other end of the real transport."""
    with smtp_sink() as sink:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
        settings.RELAY = Relay("127.0.0.1", sink.port)
        yield sink
