"""Too many calls, and too many failed logins: 429, and when to come again."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from axes.models import AccessAttempt
from django.db.models import F
from django.test import Client as Browser
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.bridge.middleware.proxy_headers import ProxyHeadersMiddleware
from project.config.rates import parse_rate
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, SignIn, bearer

PROXY, ADA, EVE = "203.0.113.1", "198.51.100.7", "198.51.100.8"
SEND = "/api/send-email/?email=ada@example.com&message=Hi"


@pytest.fixture
def client(client: TestClient) -> Iterator[TestClient]:
    """The application in one event loop, as a server has it: what is counted is kept from call to call."""
    with start_blocking_portal(**client.async_backend) as portal:
        client.portal = portal
        yield client
        client.portal = None


@pytest.fixture
def limit(settings: Settings) -> Any:
    """Set the rate of a kind of calls."""

    def limit(**rates: str) -> None:
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, **{kind: parse_rate(rate) for kind, rate in rates.items()}}

    return limit


@pytest.fixture
def key(db: None) -> dict[str, str]:
    """The header of a program."""
    return bearer(create_key("shop", scopes=["emails:read"]))


def calling_from(client: TestClient, address: str, *, proxies: list[str] | None = None) -> TestClient:
    """The same server, called from an address."""
    caller = TestClient(ProxyHeadersMiddleware(client.app, proxies or []), client=(address, 4711), raise_server_exceptions=False)
    caller.portal = client.portal
    return caller


def log_in(client: TestClient, password: str, username: str = "owner", **headers: str) -> httpx2.Response:
    """Ask for a token."""
    return client.post("/api/token", data={"username": username, "password": password}, headers=headers)


def assert_told_to_wait(answer: httpx2.Response, code: str) -> None:
    """It is a 429 that says why, and for how long."""
    assert (answer.status_code, answer.json()["code"]) == (429, code)
    assert int(answer.headers["Retry-After"]) > 0


# Rates


def test_too_many_calls_without_a_credential_are_refused(client: TestClient, limit: Any) -> None:
    limit(anonymous="2/minute")
    assert [client.post(SEND).status_code for _ in range(2)] == [200, 200]

    answer = client.post(SEND)

    assert_told_to_wait(answer, "rate_limited")
    assert (answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) == ("2", "0")
    assert answer.headers["RateLimit-Reset"] == answer.headers["Retry-After"]


def test_another_address_is_counted_alone(client: TestClient, limit: Any) -> None:
    limit(anonymous="1/minute")
    calling_from(client, EVE).post(SEND)

    assert calling_from(client, EVE).post(SEND).status_code == 429
    assert calling_from(client, ADA).post(SEND).status_code == 200


def test_a_bad_credential_counts_as_none(client: TestClient, limit: Any) -> None:
    limit(anonymous="1/minute")
    assert client.get("/api/me", headers=bearer("nonsense")).status_code == 401

    assert_told_to_wait(client.get("/api/me", headers=bearer("nonsense")), "rate_limited")


def test_a_key_has_a_rate_of_its_own_wherever_it_is_used(client: TestClient, key: dict[str, str], limit: Any) -> None:
    limit(key="2/minute", anonymous="1/minute")
    answers = [calling_from(client, address).get("/api/me", headers=key) for address in (ADA, EVE, PROXY)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Remaining"] == "1"


def test_a_user_is_counted_by_token_and_session_together(
    client: TestClient, owner: User, token: GetToken, sign_in: SignIn, limit: Any
) -> None:
    limit(user="1/minute")
    assert client.get("/api/me", headers=bearer(token(owner))).status_code == 200

    sign_in(owner)

    assert_told_to_wait(client.get("/api/me"), "rate_limited")


def test_a_key_has_no_limit_unless_told_so(client: TestClient, key: dict[str, str]) -> None:
    answer = client.get("/api/me", headers=key)

    assert answer.status_code == 200
    assert "RateLimit-Limit" not in answer.headers


def test_an_address_gets_so_many_tokens(client: TestClient, owner: User, limit: Any) -> None:
    limit(login="1/minute")
    assert log_in(calling_from(client, EVE), PASSWORD).status_code == 200

    assert_told_to_wait(log_in(calling_from(client, EVE), PASSWORD, "teammate"), "rate_limited")


def test_a_user_gets_so_many_tokens_from_wherever(client: TestClient, owner: User, limit: Any) -> None:
    limit(login="1/minute")
    assert log_in(calling_from(client, EVE), PASSWORD).status_code == 200

    assert_told_to_wait(log_in(calling_from(client, ADA), PASSWORD), "rate_limited")


# Failed logins


@pytest.fixture
def two_failures(settings: Settings) -> None:
    """It takes few of them to lock."""
    settings.AXES_FAILURE_LIMIT = 2


def test_failed_logins_lock_the_user_from_wherever(client: TestClient, owner: User, two_failures: None) -> None:
    assert log_in(calling_from(client, EVE), "wrong").status_code == 401
    assert_told_to_wait(log_in(calling_from(client, PROXY), "wrong"), "locked_out")

    answer = log_in(calling_from(client, ADA), PASSWORD)

    assert_told_to_wait(answer, "locked_out")
    assert 290 <= int(answer.headers["Retry-After"]) <= 300


def test_failed_logins_lock_the_address_for_every_user(client: TestClient, owner: User, two_failures: None) -> None:
    for name in ("alice", "bob"):
        log_in(calling_from(client, EVE), "wrong", name)

    assert_told_to_wait(log_in(calling_from(client, EVE), PASSWORD), "locked_out")
    assert log_in(calling_from(client, ADA), PASSWORD).status_code == 200


def test_who_keeps_trying_does_not_keep_the_user_out(client: TestClient, owner: User, two_failures: None) -> None:
    for _ in range(3):
        log_in(calling_from(client, EVE), "wrong")
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=270))
    log_in(calling_from(client, EVE), "wrong")
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=60))

    assert log_in(calling_from(client, EVE), PASSWORD).status_code == 200


def test_a_login_forgets_the_failures_before_it(client: TestClient, owner: User, two_failures: None) -> None:
    for password in ("wrong", PASSWORD, "wrong"):
        log_in(client, password)

    assert log_in(client, PASSWORD).status_code == 200


@pytest.mark.parametrize("address", [EVE, PROXY])
def test_a_login_of_ones_own_does_not_forget_the_failures_at_another(
    client: TestClient, owner: User, teammate: User, two_failures: None, address: str
) -> None:
    eve = calling_from(client, EVE)
    log_in(eve, "wrong")
    assert log_in(eve, PASSWORD, "teammate").status_code == 200

    assert_told_to_wait(log_in(calling_from(client, address), "wrong"), "locked_out")


def test_a_login_in_the_admin_does_not_forget_the_failures_at_another(owner: User, teammate: User, two_failures: None) -> None:
    forms = [{"username": name, "password": password} for name, password in (("owner", "wrong"), ("teammate", PASSWORD))]

    answers = [Browser(REMOTE_ADDR=EVE).post("/admin/login/", form).status_code for form in (*forms, forms[0])]

    assert answers == [200, 302, 429]


def test_a_login_does_not_forget_what_another_address_failed(client: TestClient, owner: User, two_failures: None) -> None:
    log_in(calling_from(client, EVE), "wrong")
    assert log_in(calling_from(client, ADA), PASSWORD).status_code == 200

    assert_told_to_wait(log_in(calling_from(client, EVE), "wrong"), "locked_out")


def test_the_admin_and_the_api_lock_together(client: TestClient, owner: User, two_failures: None) -> None:
    for _ in range(2):
        log_in(client, "wrong")

    page = Browser().post("/admin/login/", {"username": "owner", "password": PASSWORD})

    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) > 0
    assert "Try again in 5 minutes" in page.content.decode()


def test_a_stranger_does_not_choose_the_address_that_is_locked(client: TestClient, owner: User, two_failures: None) -> None:
    stranger = calling_from(client, EVE)
    for name, told in (("alice", "192.0.2.1"), ("bob", "192.0.2.2")):
        log_in(stranger, "wrong", name, **{"X-Forwarded-For": told})

    assert_told_to_wait(log_in(stranger, PASSWORD, **{"X-Forwarded-For": "192.0.2.3"}), "locked_out")


def test_behind_a_trusted_proxy_its_client_is_locked(client: TestClient, owner: User, two_failures: None) -> None:
    proxy = calling_from(client, PROXY, proxies=[PROXY])
    for name in ("alice", "bob"):
        log_in(proxy, "wrong", name, **{"X-Forwarded-For": f"192.0.2.1, {EVE}"})

    assert log_in(proxy, PASSWORD, **{"X-Forwarded-For": ADA}).status_code == 200
    assert_told_to_wait(log_in(proxy, PASSWORD, **{"X-Forwarded-For": EVE}), "locked_out")


def test_a_name_that_nobody_can_have_is_wrong_and_no_more(client: TestClient, db: None) -> None:
    answer = log_in(client, PASSWORD, "x" * 10_000)

    assert answer.status_code == 401
    assert not AccessAttempt.objects.exists()
