"""Request bodies are read after the credential is settled, within the limit of their route, and have at most 100 problems."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from fastapi_app.body_limit import MAX_REQUEST_BYTES
from project.api_keys.keys import create_key
from project.asgi import application
from tests.fastapi_app.conftest import bearer

KIBIBYTE = 1024
EMAIL: dict[str, Any] = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}


@pytest.fixture
def key(shared_test_connection: None) -> str:
    """Return an API key that may only send."""
    return create_key("shop", scopes=["emails:send"])


async def body_that_must_not_be_read() -> AsyncIterator[bytes]:
    """Fail as soon as the server reads."""
    yield b""
    raise AssertionError("The body was read.")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "method", "credential", "status"),
    [
        ("/api/emails", "POST", None, 401),
        ("/api/emails", "POST", "Bearer mr_nonsense", 401),
        ("/api/emails/batch", "POST", "Basic YTpi", 401),
        ("/api/templates/welcome", "PUT", None, 401),
        ("/api/templates/welcome", "PUT", "key", 403),
        ("/api/suppressions/a@b.example", "PUT", "key", 403),
    ],
)
async def test_the_credential_is_settled_before_the_body_is_read(
    key: str, path: str, method: str, credential: str | None, status: int
) -> None:
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    if credential is not None:
        headers["Authorization"] = f"Bearer {key}" if credential == "key" else credential

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=application), base_url="http://localhost") as client:
        response = await client.request(method, path, content=body_that_must_not_be_read(), headers=headers)

    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/api/emails", MAX_REQUEST_BYTES),
        ("PUT", "/api/templates/welcome", 4 * 1024 * KIBIBYTE),
        ("PUT", "/api/suppressions/a@b.example", 64 * KIBIBYTE),
        ("POST", "/api/token", 64 * KIBIBYTE),
    ],
)
def test_each_route_limits_its_body(client: TestClient, headers: dict[str, str], method: str, path: str, limit: int) -> None:
    media_type = "application/x-www-form-urlencoded" if path == "/api/token" else "application/json"
    sent = headers | {"Content-Type": media_type}

    within, above = (client.request(method, path, content=b"x" * size, headers=sent) for size in (limit, limit + 1))

    assert within.status_code in (400, 422)
    assert (above.status_code, above.json()["code"]) == (413, "content_too_large")


def test_a_chunked_body_is_limited_too(client: TestClient, headers: dict[str, str]) -> None:
    chunks = iter([b"x" * KIBIBYTE] * 65)
    sent = headers | {"Content-Type": "application/json"}

    assert client.put("/api/suppressions/a@b.example", content=chunks, headers=sent).status_code == 413


def problems_of(client: TestClient, key: str, path: str, body: Any) -> list[dict[str, Any]]:
    """Send a body, and return the problems of the 422."""
    response = client.post(path, json=body, headers=bearer(key))
    assert response.status_code == 422
    assert len(response.content) < 100_000
    problems: list[dict[str, Any]] = response.json()["detail"]
    return problems


def test_a_422_lists_at_most_100_problems_of_several_emails(client: TestClient, key: str) -> None:
    bad = {"from": "shop", "to": ["ada@example.com", "x"], "unknown": 1}

    problems = problems_of(client, key, "/api/emails/batch", {"emails": [bad] * 1000})

    assert len(problems) == 100
    assert problems[0]["loc"] == ["body", "emails", 0, "from"]
    assert {problem["loc"][2] for problem in problems} > {0, 1, 2}


def test_each_email_of_a_batch_has_its_own_problems(client: TestClient, key: str) -> None:
    bad = EMAIL | {"attachments": [{"filename": "{name}.txt", "content": "e"}]}

    problems = problems_of(client, key, "/api/emails/batch", {"emails": [EMAIL, bad, EMAIL | {"from": "{shop}"}]})

    assert [problem["loc"][1:] for problem in problems] == [["emails", 1, "attachments", 0, "content"], ["emails", 2, "from"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", {f"bad name {number}": "x" for number in range(51)}),
        ("tags", {f"bad:key{number}": "" for number in range(51)}),
        ("to", ["x"] * 51),
        ("attachments", [1] * 1001),
    ],
)
def test_counts_are_checked_before_the_items(client: TestClient, key: str, field: str, value: Any) -> None:
    (problem,) = problems_of(client, key, "/api/emails", EMAIL | {field: value})

    assert (problem["loc"], problem["type"]) == (["body", field], "too_long")


def test_many_unknown_fields_are_one_problem(client: TestClient, key: str) -> None:
    (problem,) = problems_of(client, key, "/api/emails", {str(number): 1 for number in range(5000)})

    assert (problem["loc"], problem["type"]) == (["body"], "too_long")


def test_long_names_are_cut(client: TestClient, key: str) -> None:
    problems = problems_of(client, key, "/api/emails", EMAIL | {"x" * 100_000: 1, "headers": {"y" * 100_000: "x"}})

    assert [len(problem["loc"][-1]) <= 100 or len(problem["loc"][-2]) <= 100 for problem in problems] == [True] * len(problems)


def test_a_body_with_many_values_is_rejected(client: TestClient, key: str) -> None:
    (problem,) = problems_of(client, key, "/api/emails", EMAIL | {"variables": {"a": [1] * 250_000}})

    assert problem["type"] == "json_too_complex"


def test_two_fields_with_the_same_name_are_rejected(client: TestClient, key: str) -> None:
    body = json.dumps(EMAIL)[:-1].encode() + b', "to": "bob@example.com"}'

    response = client.post("/api/emails", content=body, headers=bearer(key) | {"Content-Type": "application/json"})

    (problem,) = response.json()["detail"]
    assert (response.status_code, problem["type"]) == (422, "json_duplicate_name")
    assert "'to'" in problem["msg"]


@pytest.mark.parametrize("size", [1, 10_000, 100_000])
def test_invalid_json_is_a_422_for_any_size(client: TestClient, key: str, size: int) -> None:
    body = json.dumps(EMAIL | {"text": "x" * size})[:-1].encode()

    response = client.post("/api/emails", content=body, headers=bearer(key) | {"Content-Type": "application/json"})

    assert response.json()["detail"] == [{"loc": ["body", len(body)], "msg": "JSON decode error", "type": "json_invalid"}]
