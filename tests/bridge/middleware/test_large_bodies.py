"""Large bodies for Django: only users who are logged in may send them."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.test import Client as DjangoClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from project.accounts.models import User
from project.bridge.middleware.large_bodies import LargeBodyMiddleware

LIMIT = 1000


async def count_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the length of the body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture
def client(shared_test_connection: None) -> TestClient:
    """Return a client of the application behind the middleware."""
    return TestClient(LargeBodyMiddleware(count_body, limit=LIMIT))


@pytest.fixture
def logged_in(client: TestClient, owner: User) -> TestClient:
    """Return a client that is logged in to Django."""
    django = DjangoClient()
    django.force_login(owner)
    client.cookies.set("sessionid", django.cookies["sessionid"].value)
    return client


def chunks() -> Iterator[bytes]:
    """Yield a body of unknown length."""
    yield b"x"


def test_a_user_who_is_logged_in_may_send_a_large_body(logged_in: TestClient) -> None:
    assert logged_in.post("/admin/", content=bytes(LIMIT + 1)).text == str(LIMIT + 1)
    assert logged_in.post("/admin/", content=chunks()).text == "1"


@pytest.mark.parametrize("headers", [{}, {"Cookie": "sessionid=wrong"}, {"Authorization": "Bearer wrong"}])
def test_other_clients_may_send_a_small_body(client: TestClient, headers: dict[str, str]) -> None:
    accepted = client.post("/admin/", content=bytes(LIMIT), headers=headers)
    rejected = client.post("/admin/", content=bytes(LIMIT + 1), headers=headers)

    assert (accepted.text, rejected.status_code) == (str(LIMIT), 413)


@pytest.mark.parametrize("headers", [{"Cookie": "sessionid=wrong"}, {"Authorization": "Bearer wrong"}])
def test_other_clients_need_a_content_length(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/admin/", content=chunks(), headers=headers).status_code == 411


def test_django_itself_reports_a_database_that_is_away(client: TestClient) -> None:
    client.cookies.set("sessionid", "wrong")
    with patch("project.bridge.middleware.large_bodies.load_session", side_effect=OperationalError):
        assert client.post("/admin/", content=bytes(LIMIT + 1)).text == str(LIMIT + 1)
