"""Authentication with access tokens and sessions, and the changes that revoke tokens and end sessions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts import hashing
from project.accounts.models import User
from project.auth.access_tokens import LIFETIME_SECONDS
from project.auth.scopes import SCOPES
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, LogIn, bearer
from tests.mailers import use_backend

EMAIL = {"email": "ada@example.com", "message": "Hi"}


def change_password(user: User) -> None:
    """Change the user's password in the same way as the admin site does."""
    user.set_password("another")
    user.save()


def deactivate(user: User) -> None:
    """Deactivate the user in the same way as the admin site does."""
    user.is_active = False
    user.save()


REVOKED_BY = pytest.mark.parametrize("revoke", [change_password, deactivate, User.delete])


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Advance the clock of Django's signatures by this many seconds."""
    with patch("django.core.signing.time.time", return_value=time.time() + seconds):
        yield


@pytest.fixture
def sender(teammate: User) -> User:
    """Return the teammate with only the permission to send emails."""
    teammate.user_permissions.add(Permission.objects.get(codename="add_email"))
    return teammate


def test_responses_to_callers_are_not_cached(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/me", headers=headers).headers["Cache-Control"] == "no-store"
    assert client.get("/api/me").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.get("/api/").headers


# POST /api/token


def test_issues_a_token_for_a_password(client: TestClient, owner: User) -> None:
    response = client.post("/api/token", data={"username": "owner", "password": PASSWORD})

    token = response.json()
    assert response.status_code == 200
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    assert client.get("/api/me", headers=bearer(token.pop("access_token"))).status_code == 200
    assert token == {"token_type": "bearer", "expires_in": LIFETIME_SECONDS, "scope": " ".join(sorted(SCOPES))}


@pytest.mark.parametrize(
    ("username", "password"),
    [("owner", "wrong"), ("owner", PASSWORD.upper()), ("stranger", PASSWORD), ("owner\x00", PASSWORD), ("x" * 1000, "y" * 1000)],
)
def test_rejects_a_wrong_password(client: TestClient, owner: User, username: str, password: str) -> None:
    response = client.post("/api/token", data={"username": username, "password": password})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json() == {
        "detail": "Incorrect username or password.",
        "code": "not_authenticated",
        "error": "invalid_grant",
        "error_description": "Incorrect username or password.",
    }


def test_rejects_a_deactivated_user(client: TestClient, owner: User) -> None:
    deactivate(owner)

    response = client.post("/api/token", data={"username": "owner", "password": PASSWORD})

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_rejects_an_unknown_scope(client: TestClient, owner: User) -> None:
    form = {"username": "owner", "password": PASSWORD, "scope": "emails:send emails:burn all"}

    response = client.post("/api/token", data=form)

    assert response.status_code == 400
    assert (response.json()["detail"], response.json()["code"]) == ("Unknown scope: all, emails:burn.", "invalid_scope")


@pytest.mark.parametrize(
    ("form", "field"),
    [({"username": "owner"}, "password"), ({"username": "a", "password": "b", "grant_type": "implicit"}, "grant_type")],
)
def test_names_invalid_fields_of_the_token_form(client: TestClient, form: dict[str, str], field: str) -> None:
    response = client.post("/api/token", data=form)

    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["body", field]]


def test_grants_no_scope_beyond_the_users_permissions(client: TestClient, sender: User) -> None:
    form = {"username": "teammate", "password": PASSWORD, "scope": "emails:send suppressions:write"}

    response = client.post("/api/token", data=form)

    assert response.json()["scope"] == "emails:send"


def test_grants_all_scopes_of_the_user_by_default(client: TestClient, sender: User) -> None:
    response = client.post("/api/token", data={"username": "teammate", "password": PASSWORD})

    assert response.json()["scope"] == "emails:send"


@pytest.mark.usefixtures("real_transport")
def test_a_token_is_limited_to_its_scopes(client: TestClient, owner: User, token: GetToken) -> None:
    access_token = token(owner, "emails:read")

    response = client.post("/api/send-email/", params=EMAIL, headers=bearer(access_token))

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


# GET /api/me


def test_returns_the_caller_of_a_token(client: TestClient, owner: User, token: GetToken) -> None:
    response = client.get("/api/me", headers=bearer(token(owner, "emails:send", "emails:read")))

    assert response.json() == {"kind": "token", "name": "owner", "scopes": ["emails:read", "emails:send"]}


def test_accepts_bearer_in_lower_case(client: TestClient, owner: User, token: GetToken) -> None:
    response = client.get("/api/me", headers={"Authorization": f"bearer {token(owner)}"})

    assert response.status_code == 200


def test_returns_the_caller_of_a_session(client: TestClient, sender: User, log_in: LogIn) -> None:
    log_in(sender)

    response = client.get("/api/me")

    assert response.json() == {"kind": "session", "name": "teammate", "scopes": ["emails:send"]}


def test_rejects_a_request_without_a_credential(client: TestClient) -> None:
    response = client.get("/api/me")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json() == {"detail": "Not authenticated.", "code": "not_authenticated"}


# Revoking a token


@pytest.mark.parametrize(("age", "status"), [(LIFETIME_SECONDS - 5, 200), (LIFETIME_SECONDS + 5, 401)])
def test_a_token_expires_after_its_lifetime(client: TestClient, owner: User, token: GetToken, age: int, status: int) -> None:
    access_token = token(owner)

    with clock_ahead(seconds=age):
        response = client.get("/api/me", headers=bearer(access_token))

    assert response.status_code == status


@REVOKED_BY
def test_a_token_is_revoked_when_its_user_changes(
    client: TestClient, owner: User, token: GetToken, revoke: Callable[[User], object]
) -> None:
    access_token = token(owner)
    revoke(owner)

    response = client.get("/api/me", headers=bearer(access_token))

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_a_token_is_revoked_when_its_user_logs_out(
    client: TestClient, owner: User, teammate: User, token: GetToken, log_in: LogIn
) -> None:
    tokens = [token(owner), token(owner), token(teammate)]
    log_in(owner).post("/admin/logout/")

    responses = [client.get("/api/me", headers=bearer(each)) for each in tokens]

    assert [response.status_code for response in responses] == [401, 401, 200]
    assert client.get("/api/me", headers=bearer(token(owner))).status_code == 200


def test_a_token_loses_the_scopes_that_its_user_loses(client: TestClient, sender: User, token: GetToken) -> None:
    access_token = token(sender)
    sender.user_permissions.clear()

    response = client.get("/api/me", headers=bearer(access_token))

    assert response.json()["scopes"] == []


@pytest.mark.parametrize(
    "tamper",
    [
        lambda access_token: access_token[:-1] + ("A" if access_token[-1] != "A" else "B"),
        lambda access_token: ("A" if access_token[0] != "A" else "B") + access_token[1:],
        lambda access_token: access_token.rpartition(":")[0],
        lambda access_token: access_token * 2,
        lambda _text: "nonsense",
        lambda _text: "é",
    ],
    ids=["signature", "payload", "unsigned", "doubled", "nonsense", "not ASCII"],
)
def test_rejects_a_tampered_token(client: TestClient, owner: User, token: GetToken, tamper: Callable[[str], str]) -> None:
    header = f"Bearer {tamper(token(owner))}".encode()

    response = client.get("/api/me", headers={b"Authorization": header})

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


def test_rejects_a_token_signed_with_another_secret_key(
    client: TestClient, owner: User, token: GetToken, settings: Settings
) -> None:
    access_token = token(owner)
    settings.SECRET_KEY = "another" * 8

    response = client.get("/api/me", headers=bearer(access_token))

    assert response.status_code == 401


# Ending a session


@REVOKED_BY
@pytest.mark.pitfall(19)
def test_a_session_ends_when_its_user_changes(
    client: TestClient, owner: User, log_in: LogIn, revoke: Callable[[User], object]
) -> None:
    log_in(owner)
    revoke(owner)

    response = client.get("/api/me")

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


@pytest.mark.pitfall(19)
def test_a_session_ends_at_logout(client: TestClient, owner: User, log_in: LogIn) -> None:
    browser = log_in(owner)
    browser.post("/admin/logout/")

    response = client.get("/api/me")

    assert response.status_code == 401


def test_a_session_ends_when_it_expires(client: TestClient, owner: User, log_in: LogIn) -> None:
    log_in(owner)
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")

    response = client.get("/api/me")

    assert response.status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", "x" * 32, "x" * 5000, r'"\000abcdefghij"', "../../etc/passwd"])
def test_rejects_a_malformed_session_cookie(client: TestClient, cookie: str) -> None:
    response = client.get("/api/me", headers={"Cookie": f"sessionid={cookie}"})

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("header", ["Basic b3duZXI6eA==", "Bearer", "Bearer ", "Bearer nonsense", "Token x", "nonsense", ""])
def test_a_malformed_credential_never_falls_back_to_the_session(
    client: TestClient, owner: User, log_in: LogIn, header: str
) -> None:
    log_in(owner)

    response = client.get("/api/me", headers={"Authorization": header})

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


# CSRF


@pytest.fixture
def _sends_to_memory(settings: Settings) -> None:
    use_backend(settings, "django.core.mail.backends.locmem.EmailBackend")


@pytest.fixture
def csrf_token(client: TestClient, sender: User, log_in: LogIn, _sends_to_memory: None) -> str:
    """Log in a user who may send emails, open an admin page, and return the CSRF token of the page."""
    browser = log_in(sender)
    browser.get("/admin/")
    csrf_token: str = browser.cookies["csrftoken"].value
    client.cookies.set("csrftoken", csrf_token)
    return csrf_token


@pytest.mark.pitfall(17)
def test_rejects_a_session_without_the_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    response = client.post("/api/send-email/", params=EMAIL)

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


@pytest.mark.pitfall(17)
def test_rejects_a_session_with_a_wrong_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    response = client.post("/api/send-email/", params=EMAIL, headers={"X-CSRFToken": csrf_token[::-1]})

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


@pytest.mark.pitfall(17)
def test_rejects_a_session_from_a_foreign_origin(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    headers = {"X-CSRFToken": csrf_token, "Origin": "http://evil.example"}

    response = client.post("/api/send-email/", params=EMAIL, headers=headers)

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


def test_accepts_a_session_with_the_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    response = client.post("/api/send-email/", params=EMAIL, headers={"X-CSRFToken": csrf_token})

    assert response.status_code == 200
    assert len(mailoutbox) == 1


@pytest.mark.usefixtures("_sends_to_memory")
def test_a_session_with_the_csrf_token_needs_the_scope(client: TestClient, teammate: User, log_in: LogIn) -> None:
    log_in(teammate).get("/admin/")
    client.cookies.set("csrftoken", "x" * 32)

    response = client.post("/api/send-email/", params=EMAIL, headers={"X-CSRFToken": "x" * 32})

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


def test_a_token_needs_no_csrf_token(client: TestClient, csrf_token: str, owner: User, token: GetToken) -> None:
    response = client.post("/api/send-email/", params=EMAIL, headers=bearer(token(owner)))

    assert response.status_code == 200


# OAuth 2.0 clients


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"username": "owner", "password": "wrong"}, "invalid_grant"),
        ({"username": "owner", "password": PASSWORD, "scope": "emails:burn"}, "invalid_scope"),
        ({"username": "owner", "password": PASSWORD, "grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"username": "owner"}, "invalid_request"),
        ({"username": "owner", "password": PASSWORD, "otp": "1" * 17}, "invalid_request"),
    ],
)
def test_an_error_has_the_fields_of_oauth(client: TestClient, owner: User, form: dict[str, str], error: str) -> None:
    body = client.post("/api/token", data=form).json()

    assert body["error"] == error
    assert body["error_description"].isascii()
    assert {'"', "\\"}.isdisjoint(body["error_description"])
    assert {"detail"} < body.keys()


def test_a_busy_server_is_temporarily_unavailable(client: TestClient, owner: User) -> None:
    with patch("django.contrib.auth.hashers.MD5PasswordHasher.verify", side_effect=hashing._busy()):
        response = client.post("/api/token", data={"username": "owner", "password": PASSWORD})

    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
