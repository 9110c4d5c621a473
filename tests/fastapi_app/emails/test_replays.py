"""Idempotency keys: a repeated request returns the first response and sends no second email."""

import pytest
from starlette.testclient import TestClient

from project.emails.models import Email
from tests.fastapi_app.payloads import BODY, soon

FILE = {"filename": "a", "content": ""}
KEY = {"Idempotency-Key": "order-42"}


@pytest.mark.pitfall(31)
def test_the_same_key_and_body_returns_the_first_response_again(client: TestClient, headers: dict[str, str]) -> None:
    first = client.post("/api/emails", json=BODY, headers=headers | KEY)
    again = client.post("/api/emails", json=BODY, headers=headers | KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert Email.objects.count() == 1


@pytest.mark.pitfall(31)
def test_rejects_the_same_key_with_another_body(client: TestClient, headers: dict[str, str]) -> None:
    client.post("/api/emails", json=BODY, headers=headers | KEY)

    response = client.post("/api/emails", json=BODY | {"subject": "Another"}, headers=headers | KEY)

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert Email.objects.count() == 1


def test_rejects_the_same_key_with_another_attachment(client: TestClient, headers: dict[str, str]) -> None:
    first, again, other = (BODY | {"attachments": [FILE | {"content": content}]} for content in ("/w==", "/w\n==", "/g=="))
    client.post("/api/emails", json=first, headers=headers | KEY)

    responses = [client.post("/api/emails", json=body, headers=headers | KEY) for body in (again, other)]

    assert [response.status_code for response in responses] == [202, 422]


def test_two_callers_can_use_the_same_key(client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]) -> None:
    ids = {client.post("/api/emails", json=BODY, headers=caller | KEY).json()["id"] for caller in (headers, stranger_headers)}

    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_rejects_an_invalid_idempotency_key(client: TestClient, headers: dict[str, str], key: str) -> None:
    assert client.post("/api/emails", json=BODY, headers=headers | {"Idempotency-Key": key}).status_code == 422


@pytest.mark.pitfall(31)
def test_the_same_key_and_batch_returns_the_first_response_again(client: TestClient, headers: dict[str, str]) -> None:
    batch = {"emails": [BODY, BODY | {"scheduled_at": soon()}]}

    first = client.post("/api/emails/batch", json=batch, headers=headers | KEY)
    again = client.post("/api/emails/batch", json=batch, headers=headers | KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert Email.objects.count() == 2


@pytest.mark.parametrize(("route", "other"), [("", "/batch"), ("/batch", ""), ("/batch", "/batch")])
def test_the_routes_share_their_idempotency_keys(client: TestClient, headers: dict[str, str], route: str, other: str) -> None:
    client.post(f"/api/emails{route}", json={"emails": [BODY]} if route else BODY, headers=headers | KEY)

    body = {"emails": [BODY, BODY]} if other else BODY
    response = client.post(f"/api/emails{other}", json=body, headers=headers | KEY)

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert Email.objects.count() == 1


@pytest.mark.parametrize("route", ["", "/batch"])
def test_a_replay_does_not_render_the_template_again(client: TestClient, headers: dict[str, str], route: str) -> None:
    client.put("/api/templates/welcome", json={"text": "Hi"}, headers=headers)
    email = {"from": "shop@example.com", "to": "ada@example.com", "template": "welcome"}
    bodies = [email | {"subject": subject} for subject in ("one", "other")]
    first, second = ({"emails": [body]} if route else body for body in bodies)
    client.post(f"/api/emails{route}", json=first, headers=headers | KEY)
    client.delete("/api/templates/welcome", headers=headers)

    again = client.post(f"/api/emails{route}", json=first, headers=headers | KEY)
    other = client.post(f"/api/emails{route}", json=second, headers=headers | KEY)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
