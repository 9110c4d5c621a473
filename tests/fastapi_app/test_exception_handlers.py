"""Error responses: all have the same shape, no matter which layer raises the error."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from fastapi import Request
from starlette.testclient import TestClient

from fastapi_app.body_limit import MAX_REQUEST_BYTES
from fastapi_app.emails import routes
from fastapi_app.main import create_app
from project.accounts.models import User
from tests.fastapi_app.conftest import GetToken, LogIn, bearer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CODES = [
    ("GET", "/api/me", 401, "not_authenticated"),
    ("GET", "/api/nope", 404, "not_found"),
    ("GET", "/api/health", 404, "not_found"),
    ("GET", "/api/docs/files/nope.js", 404, "not_found"),
    ("GET", "/api/docs/files/..%2f..%2f__init__.py", 404, "not_found"),
    ("DELETE", "/api/token", 405, "method_not_allowed"),
    ("POST", "/api/add", 405, "method_not_allowed"),
    ("POST", "/api/docs", 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), CODES)
def test_an_error_has_a_detail_and_a_code(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().keys() == {"detail", "code"}
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("method", "path", "status"), [*(each[:3] for each in CODES), ("GET", "/api/add?x=abc", 422), ("POST", "/api/token", 422)]
)
def test_no_error_may_be_cached(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.headers.get("Cache-Control")) == (status, "no-store")


@pytest.mark.parametrize(("text", "csrf", "status"), [("Hi", "", 403), ("{% if %}", "x" * 32, 422)])
def test_no_error_of_a_session_may_be_cached(
    client: TestClient, owner: User, log_in: LogIn, text: str, csrf: str, status: int
) -> None:
    log_in(owner)
    client.cookies.set("csrftoken", "x" * 32)

    answer = client.put("/api/templates/welcome", json={"text": text}, headers={"X-CSRFToken": csrf})

    assert (answer.status_code, answer.headers.get("Cache-Control")) == (status, "no-store")


@pytest.mark.parametrize(("path", "methods"), [("/api/emails", "GET, POST"), ("/api/docs", "GET, HEAD")])
def test_a_405_lists_all_methods_of_the_path(client: TestClient, path: str, methods: str) -> None:
    answer = client.delete(path)

    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


@pytest.mark.usefixtures("real_transport")
def test_a_missing_scope_has_a_detail_and_a_code(client: TestClient, teammate: User, token: GetToken) -> None:
    params = {"email": "ada@example.com", "message": "Hi"}

    answer = client.post("/api/send-email/", params=params, headers=bearer(token(teammate)))

    assert answer.status_code == 403
    assert answer.json() == {"detail": "Missing required scope: emails:send.", "code": "insufficient_scope"}


def test_a_405_lists_the_only_method(client: TestClient) -> None:
    answer = client.delete("/api/token")

    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_an_unavailable_database_is_a_503_with_retry_after(
    client: TestClient, owner: User, token: GetToken, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(token(owner))

    def fail(*_args: object, **_kwargs: object) -> None:
        raise error("connection refused")

    monkeypatch.setattr(routes, "list_emails", fail)

    answer = client.get("/api/emails", headers=headers)

    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "database_unavailable", "5")
    assert answer.headers["Cache-Control"] == "no-store"


def chunked(size: int) -> Iterator[bytes]:
    """Yield a body of this size in chunks, so that the request has no Content-Length."""
    yield from (b"x" * 1024 * 1024 for _ in range(size // 1024 // 1024))
    yield b"x" * (size % (1024 * 1024))


@pytest.mark.pitfall(5)
@pytest.mark.parametrize(
    "content", [b"x" * (MAX_REQUEST_BYTES + 1), chunked(MAX_REQUEST_BYTES + 1)], ids=["content-length", "chunked"]
)
def test_rejects_an_oversized_body(client: TestClient, content: Any) -> None:
    answer = client.post("/api/token", content=content, headers=FORM)

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() >= {"detail", "code"}
    assert answer.json()["code"] == "content_too_large"  # all Python versions use the same code


def test_accepts_a_body_of_the_maximum_size() -> None:
    app = create_app()

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    answer = TestClient(app).post("/size", content=chunked(MAX_REQUEST_BYTES))

    assert answer.json() == MAX_REQUEST_BYTES


def test_an_unhandled_error_reveals_only_its_code() -> None:
    app = create_app()

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("a secret")

    answer = TestClient(app, raise_server_exceptions=False).get("/bug")

    assert answer.status_code == 500
    assert answer.json() == {"detail": "Internal server error.", "code": "internal_error"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_unhandled_error_is_raised_again_so_that_the_server_logs_it() -> None:
    app = create_app()

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("for the log")

    with pytest.raises(RuntimeError, match="for the log"):
        TestClient(app).get("/bug")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/add?x=abc"),
        ("GET", "/api/greet?name=&pause=9"),
        ("POST", "/api/send-email/?email=ada&message=Hi%00"),
        ("POST", "/api/token"),
    ],
)
def test_validation_errors_have_loc_msg_and_type(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 422
    assert "code" not in answer.json()
    assert {frozenset(problem) for problem in answer.json()["detail"]} == {frozenset({"loc", "msg", "type"})}
