"""Who is calling: tokens, sessions, and what ends them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.auth.access_tokens import LIFETIME_SECONDS
from project.auth.scopes import SCOPES
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, SignIn, bearer

MAIL = {"email": "ada@example.com", "message": "Hi"}


def change_password(user: User) -> None:
    """As the admin does."""
    user.set_password("another")
    user.save()


def deactivate(user: User) -> None:
    """As the admin does."""
    user.is_active = False
    user.save()


ENDS_IT = pytest.mark.parametrize("end", [change_password, deactivate, User.delete])


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """The signatures' clock goes ahead."""
    with patch("django.core.signing.time.time", return_value=time.time() + seconds):
        yield


@pytest.fixture
def sender(teammate: User) -> User:
    """A teammate who may send mail, and nothing else."""
    teammate.user_permissions.add(Permission.objects.get(codename="add_email"))
    return teammate


def test_what_a_caller_is_told_is_not_kept(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/me", headers=headers).headers["Cache-Control"] == "no-store"
    assert client.get("/api/me").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in client.get("/api/").headers


# POST /api/token


def test_gives_a_token_for_a_password(client: TestClient, owner: User) -> None:
    answer = client.post("/api/token", data={"username": "owner", "password": PASSWORD})

    token = answer.json()
    assert answer.status_code == 200
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert client.get("/api/me", headers=bearer(token.pop("access_token"))).status_code == 200
    assert token == {"token_type": "bearer", "expires_in": LIFETIME_SECONDS, "scope": " ".join(sorted(SCOPES))}


@pytest.mark.parametrize(
    ("username", "password"),
    [("owner", "wrong"), ("owner", PASSWORD.upper()), ("stranger", PASSWORD), ("owner\x00", PASSWORD), ("x" * 1000, "y" * 1000)],
)
def test_gives_no_token_for_a_wrong_password(client: TestClient, owner: User, username: str, password: str) -> None:
    answer = client.post("/api/token", data={"username": username, "password": password})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {"detail": "The user name or the password is wrong.", "code": "not_authenticated"}


def test_gives_no_token_to_a_deactivated_user(client: TestClient, owner: User) -> None:
    deactivate(owner)

    answer = client.post("/api/token", data={"username": "owner", "password": PASSWORD})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_gives_no_token_with_an_unknown_scope(client: TestClient, owner: User) -> None:
    form = {"username": "owner", "password": PASSWORD, "scope": "emails:send emails:burn all"}

    answer = client.post("/api/token", data=form)

    assert answer.status_code == 400
    assert answer.json() == {"detail": "There is no scope all, emails:burn.", "code": "invalid_scope"}


@pytest.mark.parametrize(
    ("form", "field"),
    [({"username": "owner"}, "password"), ({"username": "a", "password": "b", "grant_type": "implicit"}, "grant_type")],
)
def test_names_what_a_form_for_a_token_lacks(client: TestClient, form: dict[str, str], field: str) -> None:
    answer = client.post("/api/token", data=form)

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", field]]


def test_grants_no_scope_beyond_the_users_permissions(client: TestClient, sender: User) -> None:
    form = {"username": "teammate", "password": PASSWORD, "scope": "emails:send suppressions:write"}

    answer = client.post("/api/token", data=form)

    assert answer.json()["scope"] == "emails:send"


def test_grants_all_scopes_of_the_user_if_none_is_named(client: TestClient, sender: User) -> None:
    answer = client.post("/api/token", data={"username": "teammate", "password": PASSWORD})

    assert answer.json()["scope"] == "emails:send"


@pytest.mark.usefixtures("real_transport")
def test_a_narrow_token_does_not_what_its_user_may(client: TestClient, owner: User, token: GetToken) -> None:
    narrow = token(owner, "emails:read")

    answer = client.post("/api/send-email/", params=MAIL, headers=bearer(narrow))

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


# GET /api/me


def test_knows_a_token(client: TestClient, owner: User, token: GetToken) -> None:
    answer = client.get("/api/me", headers=bearer(token(owner, "emails:send", "emails:read")))

    assert answer.json() == {"kind": "token", "name": "owner", "scopes": ["emails:read", "emails:send"]}


def test_knows_a_token_whatever_the_case_of_bearer(client: TestClient, owner: User, token: GetToken) -> None:
    answer = client.get("/api/me", headers={"Authorization": f"bearer {token(owner)}"})

    assert answer.status_code == 200


def test_knows_a_session(client: TestClient, sender: User, sign_in: SignIn) -> None:
    sign_in(sender)

    answer = client.get("/api/me")

    assert answer.json() == {"kind": "session", "name": "teammate", "scopes": ["emails:send"]}


def test_knows_nobody_without_a_credential(client: TestClient) -> None:
    answer = client.get("/api/me")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {"detail": "Not authenticated.", "code": "not_authenticated"}


# What ends a token


@pytest.mark.parametrize(("age", "status"), [(LIFETIME_SECONDS - 5, 200), (LIFETIME_SECONDS + 5, 401)])
def test_a_token_lives_for_its_lifetime(client: TestClient, owner: User, token: GetToken, age: int, status: int) -> None:
    text = token(owner)

    with later(seconds=age):
        answer = client.get("/api/me", headers=bearer(text))

    assert answer.status_code == status


@ENDS_IT
def test_a_token_ends_with(client: TestClient, owner: User, token: GetToken, end: Callable[[User], object]) -> None:
    text = token(owner)
    end(owner)

    answer = client.get("/api/me", headers=bearer(text))

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_a_token_loses_the_scopes_its_user_loses(client: TestClient, sender: User, token: GetToken) -> None:
    text = token(sender)
    sender.user_permissions.clear()

    answer = client.get("/api/me", headers=bearer(text))

    assert answer.json()["scopes"] == []


@pytest.mark.parametrize(
    "tamper",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: ("A" if text[0] != "A" else "B") + text[1:],
        lambda text: text.rpartition(":")[0],
        lambda text: text * 2,
        lambda _text: "nonsense",
        lambda _text: "é",
    ],
    ids=["signature", "payload", "unsigned", "doubled", "nonsense", "not ASCII"],
)
def test_a_tampered_token_is_refused(client: TestClient, owner: User, token: GetToken, tamper: Callable[[str], str]) -> None:
    header = f"Bearer {tamper(token(owner))}".encode()

    answer = client.get("/api/me", headers={b"Authorization": header})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_a_token_of_another_secret_key_is_refused(client: TestClient, owner: User, token: GetToken, settings: Settings) -> None:
    text = token(owner)
    settings.SECRET_KEY = "another" * 8

    answer = client.get("/api/me", headers=bearer(text))

    assert answer.status_code == 401


# What ends a session


@ENDS_IT
@pytest.mark.pitfall(19)
def test_a_session_ends_with(client: TestClient, owner: User, sign_in: SignIn, end: Callable[[User], object]) -> None:
    sign_in(owner)
    end(owner)

    answer = client.get("/api/me")

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


@pytest.mark.pitfall(19)
def test_a_session_ends_with_the_logout(client: TestClient, owner: User, sign_in: SignIn) -> None:
    browser = sign_in(owner)
    browser.post("/admin/logout/")

    answer = client.get("/api/me")

    assert answer.status_code == 401


def test_a_session_ends_when_it_expires(client: TestClient, owner: User, sign_in: SignIn) -> None:
    sign_in(owner)
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")

    answer = client.get("/api/me")

    assert answer.status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", "x" * 32, "x" * 5000, r'"\000abcdefghij"', "../../etc/passwd"])
def test_a_garbage_session_is_nobodys(client: TestClient, cookie: str) -> None:
    answer = client.get("/api/me", headers={"Cookie": f"sessionid={cookie}"})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("header", ["Basic b3duZXI6eA==", "Bearer", "Bearer ", "Bearer nonsense", "Token x", "nonsense", ""])
def test_a_malformed_credential_never_falls_back_to_the_session(
    client: TestClient, owner: User, sign_in: SignIn, header: str
) -> None:
    sign_in(owner)

    answer = client.get("/api/me", headers={"Authorization": header})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


# A session and unsafe methods


@pytest.fixture
def _sends_to_memory(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture
def csrf_token(client: TestClient, sender: User, sign_in: SignIn, _sends_to_memory: None) -> str:
    """What a page of the admin gives the browser of someone who may send mail."""
    browser = sign_in(sender)
    browser.get("/admin/")
    text: str = browser.cookies["csrftoken"].value
    client.cookies.set("csrftoken", text)
    return text


@pytest.mark.pitfall(17)
def test_a_session_sends_nothing_without_the_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    answer = client.post("/api/send-email/", params=MAIL)

    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


@pytest.mark.pitfall(17)
def test_a_session_sends_nothing_with_a_wrong_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    answer = client.post("/api/send-email/", params=MAIL, headers={"X-CSRFToken": csrf_token[::-1]})

    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


@pytest.mark.pitfall(17)
def test_a_session_sends_nothing_for_a_foreign_page(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    headers = {"X-CSRFToken": csrf_token, "Origin": "http://evil.example"}

    answer = client.post("/api/send-email/", params=MAIL, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert mailoutbox == []


def test_a_session_sends_with_the_csrf_token(client: TestClient, csrf_token: str, mailoutbox: list[object]) -> None:
    answer = client.post("/api/send-email/", params=MAIL, headers={"X-CSRFToken": csrf_token})

    assert answer.status_code == 200
    assert len(mailoutbox) == 1


@pytest.mark.usefixtures("_sends_to_memory")
def test_a_session_needs_the_scope_too(client: TestClient, teammate: User, sign_in: SignIn) -> None:
    sign_in(teammate).get("/admin/")
    client.cookies.set("csrftoken", "x" * 32)

    answer = client.post("/api/send-email/", params=MAIL, headers={"X-CSRFToken": "x" * 32})

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_a_token_needs_no_csrf_token(client: TestClient, csrf_token: str, owner: User, token: GetToken) -> None:
    answer = client.post("/api/send-email/", params=MAIL, headers=bearer(token(owner)))

    assert answer.status_code == 200
