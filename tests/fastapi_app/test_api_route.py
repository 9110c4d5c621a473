"""Checks of every API route: unknown query parameters, and the media type of a body."""

import gzip
import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.api_keys.keys import create_key
from project.auth.scopes import SCOPES
from tests.fastapi_app.conftest import bearer
from tests.fastapi_app.payloads import BODY

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CONTENT = json.dumps(BODY).encode()


@pytest.fixture
def key(db: None) -> str:
    """Return an API key with every scope."""
    return create_key("shop", scopes=SCOPES)


# Unknown query parameters


@pytest.mark.parametrize(
    ("path", "unknown"),
    [
        ("/api/?verbose=1", ["verbose"]),
        ("/api/add?x=1&y=2&z=3", ["z"]),
        ("/api/greet?name=Ada&Name=Bob&nane=Eve", ["Name", "nane"]),
        ("/api/emails?Status=sent", ["Status"]),
        ("/api/emails?status=sent&statuses=sent&statuses=failed", ["statuses"]),
        ("/api/events?since=3", ["since"]),
        ("/api/events/stream?last_event_id=3", ["last_event_id"]),
        ("/api/templates?offset=20", ["offset"]),
        ("/api/suppressions?page=2", ["page"]),
        ("/api/me?x", ["x"]),
        ("/api/health/live?probe=1", ["probe"]),
    ],
)
def test_rejects_an_unknown_query_parameter(client: TestClient, key: str, path: str, unknown: list[str]) -> None:
    response = client.get(path, headers=bearer(key))

    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["query", name] for name in unknown]
    assert {problem["type"] for problem in response.json()["detail"]} == {"extra_forbidden"}


@pytest.mark.parametrize(
    ("path", "repeated"),
    [
        ("/api/add?x=1&y=2&x=3", ["x"]),
        ("/api/emails?status=sent&status=failed&to=a@b.example&to=c@d.example", ["status", "to"]),
        ("/api/templates?limit=5&limit=5", ["limit"]),
        ("/api/events?after=1&after=2&types=email.sent&types=email.failed", ["after", "types"]),
    ],
)
def test_rejects_a_repeated_query_parameter_with_one_value(client: TestClient, key: str, path: str, repeated: list[str]) -> None:
    response = client.get(path, headers=bearer(key))

    assert response.status_code == 422
    assert [(problem["loc"], problem["type"]) for problem in response.json()["detail"]] == [
        (["query", name], "repeated") for name in repeated
    ]


def test_accepts_a_repeated_query_parameter_with_several_values(client: TestClient) -> None:
    assert client.get("/api/greet?name=Ada&name=Bob&pause=0").status_code == 200


def test_names_the_known_query_parameters(client: TestClient) -> None:
    (problem,) = client.get("/api/add?x=1&y=2&z=3").json()["detail"]

    assert problem["msg"] == "Unknown query parameter. Known: x, y."


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/api/emails?reason={'x' * 201}", None),
        ("PUT", "/api/suppressions/ada@example.com", {"reason": "x" * 501}),
        ("PUT", "/api/templates/welcome", {"text": "x" * 300_000}),
        ("POST", f"/api/send-email/?email=ada@example.com&message={'x' * 10_001}", None),
    ],
)
def test_a_text_that_is_too_long_is_counted_in_characters(
    client: TestClient, key: str, method: str, path: str, body: dict[str, str] | None
) -> None:
    (problem,) = client.request(method, path, json=body, headers=bearer(key)).json()["detail"]

    assert re.fullmatch(r"String should have at most \d+ characters", problem["msg"])


def test_limits_the_number_and_the_length_of_reported_parameters(client: TestClient) -> None:
    query = "&".join(f"{'n' * 300}{number}=1" for number in range(200))

    problems = client.get(f"/api/?{query}").json()["detail"]

    assert len(problems) == 20
    assert {len(problem["loc"][1]) for problem in problems} == {100}


def test_authentication_is_checked_before_the_query(client: TestClient) -> None:
    assert client.get("/api/emails?unknown=1").status_code == 401


# Media types


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": FORM},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json, text/plain"},
        {"Content-Type": "application/json; charset=iso-8859-1"},
        {"Content-Type": "application/json; charset=utf-16"},
        {},
        {"Content-Type": JSON, "Content-Encoding": "gzip"},
        {"Content-Type": JSON, "Content-Encoding": "br"},
        {"Content-Type": JSON, "Content-Encoding": "identity, gzip"},
    ],
)
def test_rejects_a_body_that_it_cannot_read(client: TestClient, key: str, headers: dict[str, str]) -> None:
    response = client.post("/api/emails", content=CONTENT, headers=bearer(key) | headers)

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert re.match("Content-Type '|Content-Encoding '|A body without a Content-Type|The charset '", response.json()["detail"])


@pytest.mark.parametrize("media_type", [JSON, "Application/JSON", "application/json; charset=UTF-8", "application/vnd.mail+json"])
def test_accepts_json(client: TestClient, key: str, media_type: str) -> None:
    headers = bearer(key) | {"Content-Type": media_type, "Content-Encoding": "identity"}

    assert client.post("/api/emails", content=CONTENT, headers=headers).status_code == 202


def test_names_the_supported_codings_and_types(client: TestClient, key: str) -> None:
    coded = {"Content-Type": JSON, "Content-Encoding": "gzip"}

    compressed = client.post("/api/emails", content=gzip.compress(CONTENT), headers=bearer(key) | coded)
    text = client.post("/api/emails", content=CONTENT, headers=bearer(key) | {"Content-Type": "text/plain"})

    assert (compressed.headers["Accept-Encoding"], text.headers["Accept"]) == ("identity", JSON)


@pytest.mark.parametrize(("content", "status"), [(b"", 200), (b"{}", 415)])
def test_an_optional_body_needs_a_type_only_if_it_is_sent(client: TestClient, key: str, content: bytes, status: int) -> None:
    response = client.put("/api/suppressions/ada@example.com", content=content, headers=bearer(key))

    assert response.status_code == status


@pytest.mark.parametrize(("media_type", "status"), [(JSON, 415), ("text/plain", 415), (FORM, 422), (None, 415)])
def test_the_token_endpoint_reads_forms(client: TestClient, media_type: str | None, status: int) -> None:
    headers: Any = {"Content-Type": media_type} if media_type else {}

    assert client.post("/api/token", content=b"username=a", headers=headers).status_code == status


# Allow


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/emails", "GET, POST"),
        ("DELETE", "/api/emails/batch", "GET, PATCH, POST"),
        ("POST", "/api/docs", "GET, HEAD"),
        ("DELETE", "/api/docs/files/swagger-ui-dist/swagger-ui.css", "GET, HEAD"),
        ("POST", "/api/suppressions/ada@example.com", "DELETE, PUT"),
        ("GET", "/api/token", "POST"),
    ],
)
def test_a_405_lists_the_methods_of_the_path(client: TestClient, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)

    assert (response.status_code, response.headers["Allow"]) == (405, allow)
