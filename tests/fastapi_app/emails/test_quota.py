"""Daily quota of an API key: 429 until the next day."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.emails.models import Email
from project.mail_templates.models import Template
from tests.fastapi_app.conftest import bearer

EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
Post = Callable[..., httpx2.Response]


@pytest.fixture
def post(client: TestClient) -> Post:
    """Return a function that sends a POST request with an API key whose quota is two emails a day."""
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(daily_quota=2)

    def post(path: str, json: Any = None, **headers: str) -> httpx2.Response:
        return client.post(f"/api{path}", json=json, headers=bearer(key) | headers)

    return post


def assert_exceeded(response: httpx2.Response) -> None:
    """Check that the response is a 429 with a Retry-After of at most one day."""
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(response.headers["Retry-After"]) <= 24 * 60 * 60


def test_rejects_emails_beyond_the_quota(post: Post) -> None:
    assert [post("/emails", EMAIL).status_code for _ in range(2)] == [202, 202]

    assert_exceeded(post("/emails", EMAIL))
    assert Email.objects.count() == 2


def test_a_batch_counts_each_email_or_is_rejected_whole(post: Post) -> None:
    assert_exceeded(post("/emails/batch", {"emails": [EMAIL] * 3}))

    assert post("/emails/batch", {"emails": [EMAIL] * 2}).status_code == 202
    assert Email.objects.count() == 2


def test_the_send_email_example_counts(post: Post) -> None:
    for _ in range(2):
        assert post("/send-email/?email=ada@example.com&message=Hi").status_code == 200

    assert_exceeded(post("/send-email/?email=ada@example.com&message=Hi"))


def test_a_replay_does_not_count(post: Post) -> None:
    key = {"Idempotency-Key": "order-42"}

    responses = [post("/emails", EMAIL, **key) for _ in range(3)]

    assert len({response.json()["id"] for response in responses}) == 1
    assert ApiKey.objects.get().quota_used == 1


def test_a_rejected_email_does_not_use_up_its_idempotency_key(post: Post) -> None:
    ApiKey.objects.update(daily_quota=0)
    assert_exceeded(post("/emails", EMAIL, **{"Idempotency-Key": "order-42"}))
    ApiKey.objects.update(daily_quota=1)

    response = post("/emails", EMAIL, **{"Idempotency-Key": "order-42"})

    assert response.status_code == 202
    assert "Idempotent-Replayed" not in response.headers


def test_neither_a_replayed_nor_a_rejected_batch_counts(post: Post) -> None:
    key, batch = {"Idempotency-Key": "orders"}, {"emails": [EMAIL] * 2}
    ApiKey.objects.update(daily_quota=1)
    assert_exceeded(post("/emails/batch", batch, **key))
    ApiKey.objects.update(daily_quota=3)

    responses = [post("/emails/batch", batch, **key) for _ in range(3)]

    assert ["Idempotent-Replayed" in response.headers for response in responses] == [False, True, True]
    assert (ApiKey.objects.get().quota_used, Email.objects.count()) == (2, 2)


@pytest.mark.parametrize("path", ["/emails", "/emails/batch"])
def test_the_quota_is_checked_before_templates_are_rendered(post: Post, path: str) -> None:
    Template.objects.create(slug="broken", version=1, text="{{ unknown }}")
    broken = {"from": "shop@example.com", "to": "ada@example.com", "template": "broken"}
    assert post(path, {"emails": [broken]} if path.endswith("batch") else broken).status_code == 422
    ApiKey.objects.update(daily_quota=0)

    assert_exceeded(post(path, {"emails": [broken]} if path.endswith("batch") else broken))


def test_a_replay_with_a_file_needs_no_quota(post: Post) -> None:
    email = EMAIL | {"attachments": [{"filename": "a.txt", "content": "aGk="}]}
    first = post("/emails", email, **{"Idempotency-Key": "order-42"})
    ApiKey.objects.update(daily_quota=0)

    again = post("/emails", email, **{"Idempotency-Key": "order-42"})

    assert (again.status_code, again.json()) == (202, first.json())
    assert_exceeded(post("/emails", email))
