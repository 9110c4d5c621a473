"""The fixed cast, and the clients they use."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.accounts.models import User
from project.bridge import database

PASSWORD = "correct horse battery staple"


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as Daphne does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _embedded_mailbox(settings: Any) -> None:
    """Django's test runner puts a backend of its own in place of the real one: put it back."""
    settings.EMAIL_BACKEND = settings.MAILBOX_BACKEND


@pytest.fixture
def lent(db: None) -> Iterator[None]:
    """FastAPI and the engine work inside the test's own transaction; its rollback takes back what they wrote."""
    with database.lent():
        yield


@pytest.fixture
def client(lent: None) -> TestClient:
    """The whole application, in this process and with no lifespan. The notes say it must work so too."""
    from project.asgi import application

    return TestClient(application, raise_server_exceptions=False)


@pytest.fixture
def owner(db: None) -> User:
    """An administrator."""
    return User.objects.create_superuser("owner", password=PASSWORD)


@pytest.fixture
def teammate(db: None) -> User:
    """Signs in, and may do nothing yet."""
    return User.objects.create_user("teammate", password=PASSWORD, is_staff=True)
