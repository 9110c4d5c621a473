"""A key that has sent what it may send today: 429, until tomorrow."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.emails.models import Email
from tests.fastapi_app.conftest import bearer

MAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
Post = Callable[..., httpx2.Response]


@pytest.fixture
def post(client: TestClient) -> Post:
    """Call as a key that may send two mails a day."""
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(daily_quota=2)

    def post(path: str, json: Any = None, **headers: str) -> httpx2.Response:
        return client.post(f"/api{path}", json=json, headers=bearer(key) | headers)

    return post


def assert_exceeded(answer: httpx2.Response) -> None:
    """It is a 429 that says when the next day begins."""
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(answer.headers["Retry-After"]) <= 24 * 60 * 60


def test_mails_beyond_the_quota_are_refused(post: Post) -> None:
    assert [post("/emails", MAIL).status_code for _ in range(2)] == [202, 202]

    assert_exceeded(post("/emails", MAIL))
    assert Email.objects.count() == 2


def test_a_batch_counts_as_its_mails_all_or_none(post: Post) -> None:
    assert_exceeded(post("/emails/batch", {"emails": [MAIL] * 3}))

    assert post("/emails/batch", {"emails": [MAIL] * 2}).status_code == 202
    assert Email.objects.count() == 2


def test_the_notes_message_counts(post: Post) -> None:
    for _ in range(2):
        assert post("/send-email/?email=ada@example.com&message=Hi").status_code == 200

    assert_exceeded(post("/send-email/?email=ada@example.com&message=Hi"))


def test_an_answer_that_is_given_again_counts_once(post: Post) -> None:
    again = {"Idempotency-Key": "order-42"}

    answers = [post("/emails", MAIL, **again) for _ in range(3)]

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert ApiKey.objects.get().quota_used == 1


def test_a_refused_mail_may_come_again_with_its_idempotency_key(post: Post) -> None:
    ApiKey.objects.update(daily_quota=0)
    assert_exceeded(post("/emails", MAIL, **{"Idempotency-Key": "order-42"}))
    ApiKey.objects.update(daily_quota=1)

    answer = post("/emails", MAIL, **{"Idempotency-Key": "order-42"})

    assert answer.status_code == 202
    assert "Idempotent-Replayed" not in answer.headers


def test_a_batch_that_is_given_again_counts_once_and_one_that_was_refused_not_at_all(post: Post) -> None:
    key, batch = {"Idempotency-Key": "orders"}, {"emails": [MAIL] * 2}
    ApiKey.objects.update(daily_quota=1)
    assert_exceeded(post("/emails/batch", batch, **key))
    ApiKey.objects.update(daily_quota=3)

    answers = [post("/emails/batch", batch, **key) for _ in range(3)]

    assert ["Idempotent-Replayed" in answer.headers for answer in answers] == [False, True, True]
    assert (ApiKey.objects.get().quota_used, Email.objects.count()) == (2, 2)
