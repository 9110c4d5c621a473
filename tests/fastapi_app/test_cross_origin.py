"""No route without a credential can be called by a page of another origin."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from project.accounts.models import User
from project.emails.models import Email
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import bearer

EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "send-email": ("/api/send-email/", {"params": {"email": "ada@example.com", "message": "Hi"}}),
    "emails": ("/api/emails", {"json": EMAIL}),
    "batch": ("/api/emails/batch", {"json": {"emails": [EMAIL]}}),
    "token": ("/api/token", {"data": {"username": "owner", "password": PASSWORD}}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_rejects_an_anonymous_request_of_a_foreign_page(name: str, client: TestClient, owner: User) -> None:
    path, request = REQUESTS[name]

    response = client.post(path, headers=EVIL, **request)

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert not Email.objects.exists()


@pytest.mark.parametrize("name", REQUESTS)
def test_accepts_an_anonymous_request_of_our_own_page(name: str, client: TestClient, owner: User) -> None:
    path, request = REQUESTS[name]

    response = client.post(path, headers={"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, **request)

    assert response.status_code == (401 if path.startswith("/api/emails") else 200)


def test_a_foreign_page_with_a_token_is_not_rejected(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/api/emails", headers=headers | EVIL, json=EMAIL)

    assert response.status_code == 202


def test_a_wrong_token_is_still_rejected(client: TestClient, db: None) -> None:
    assert client.post("/api/emails", headers=bearer("nonsense") | EVIL, json=EMAIL).status_code == 401
