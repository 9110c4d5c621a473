"""Rate limits and login lockout: both return 429 with `Retry-After`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from django.db.models import F
from django.test import Client as Browser
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import LoginCounter, User
from project.api_keys.keys import create_key
from project.bridge.middleware.proxy_headers import ProxyHeadersMiddleware
from project.config.rates import parse_rate
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, LogIn, bearer

PROXY, ADA, EVE = "203.0.113.1", "198.51.100.7", "198.51.100.8"
SEND = "/api/send-email/?email=ada@example.com&message=Hi"


@pytest.fixture
def client(client: TestClient) -> Iterator[TestClient]:
    """Run the application in one event loop, as a server does, so that requests share the counters."""
    with start_blocking_portal(**client.async_backend) as portal:
        client.portal = portal
        yield client
        client.portal = None


@pytest.fixture
def set_rates(settings: Settings) -> Any:
    """Return a function that sets the rate limit of each kind of caller."""

    def set_rates(**rates: str) -> None:
        settings.RATE_LIMITS = {**settings.RATE_LIMITS, **{kind: parse_rate(rate) for kind, rate in rates.items()}}

    return set_rates


@pytest.fixture
def key(db: None) -> dict[str, str]:
    """Return the headers of a request with an API key."""
    return bearer(create_key("shop", scopes=["emails:read"]))


def client_from(client: TestClient, ip_address: str, *, proxies: list[str] | None = None) -> TestClient:
    """Return a client of the same application that connects from this IP address."""
    client_at_ip = TestClient(
        ProxyHeadersMiddleware(client.app, proxies or []), client=(ip_address, 4711), raise_server_exceptions=False
    )
    client_at_ip.portal = client.portal
    return client_at_ip


def request_token(client: TestClient, password: str, username: str = "owner", **headers: str) -> httpx2.Response:
    """Request an access token."""
    return client.post("/api/token", data={"username": username, "password": password}, headers=headers)


def assert_retry_later(response: httpx2.Response, code: str) -> None:
    """Check that the response is a 429 with this code and a `Retry-After` header."""
    assert (response.status_code, response.json()["code"]) == (429, code)
    assert int(response.headers["Retry-After"]) > 0


# Rate limits


def test_rejects_too_many_anonymous_requests(client: TestClient, set_rates: Any) -> None:
    set_rates(anonymous="2/minute")
    assert [client.post(SEND).status_code for _ in range(2)] == [200, 200]

    response = client.post(SEND)

    assert_retry_later(response, "rate_limited")
    assert (response.headers["RateLimit-Limit"], response.headers["RateLimit-Remaining"]) == ("2", "0")
    assert response.headers["RateLimit-Reset"] == response.headers["Retry-After"]


def test_counts_each_ip_address_separately(client: TestClient, set_rates: Any) -> None:
    set_rates(anonymous="1/minute")
    client_from(client, EVE).post(SEND)

    assert client_from(client, EVE).post(SEND).status_code == 429
    assert client_from(client, ADA).post(SEND).status_code == 200


def test_counts_a_request_with_a_bad_credential_as_anonymous(client: TestClient, set_rates: Any) -> None:
    set_rates(anonymous="1/minute")
    assert client.get("/api/me", headers=bearer("nonsense")).status_code == 401

    assert_retry_later(client.get("/api/me", headers=bearer("nonsense")), "rate_limited")


def test_counts_a_key_across_ip_addresses(client: TestClient, key: dict[str, str], set_rates: Any) -> None:
    set_rates(key="2/minute", anonymous="1/minute")
    responses = [client_from(client, ip_address).get("/api/me", headers=key) for ip_address in (ADA, EVE, PROXY)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].headers["RateLimit-Remaining"] == "1"


def test_counts_tokens_and_sessions_of_a_user_together(
    client: TestClient, owner: User, token: GetToken, log_in: LogIn, set_rates: Any
) -> None:
    set_rates(user="1/minute")
    assert client.get("/api/me", headers=bearer(token(owner))).status_code == 200

    log_in(owner)

    assert_retry_later(client.get("/api/me"), "rate_limited")


def test_a_key_has_no_limit_by_default(client: TestClient, key: dict[str, str]) -> None:
    response = client.get("/api/me", headers=key)

    assert response.status_code == 200
    assert "RateLimit-Limit" not in response.headers


def test_limits_the_logins_of_an_ip_address(client: TestClient, owner: User, set_rates: Any) -> None:
    set_rates(login="1/minute")
    assert request_token(client_from(client, EVE), PASSWORD).status_code == 200

    assert_retry_later(request_token(client_from(client, EVE), PASSWORD, "teammate"), "rate_limited")


def test_limits_the_logins_of_a_user_across_ip_addresses(client: TestClient, owner: User, set_rates: Any) -> None:
    set_rates(login="1/minute")
    assert request_token(client_from(client, EVE), PASSWORD).status_code == 200

    assert_retry_later(request_token(client_from(client, ADA), PASSWORD), "rate_limited")


# Failed logins


@pytest.fixture
def lock_after_two_failures(settings: Settings) -> None:
    """Lock logins after two failures."""
    settings.LOGIN_MAX_FAILURES = 2


def test_failed_logins_lock_the_user_at_one_ip_address(client: TestClient, owner: User, lock_after_two_failures: None) -> None:
    assert request_token(client_from(client, EVE), "wrong").status_code == 401
    assert_retry_later(request_token(client_from(client, EVE), "wrong"), "locked_out")

    response = request_token(client_from(client, EVE), PASSWORD)

    assert_retry_later(response, "locked_out")
    assert 290 <= int(response.headers["Retry-After"]) <= 300
    assert request_token(client_from(client, ADA), PASSWORD).status_code == 200
    assert request_token(client_from(client, EVE), PASSWORD, "teammate").status_code == 401


def test_failed_logins_from_many_ip_addresses_lock_the_user_for_an_hour(
    client: TestClient, owner: User, settings: Settings
) -> None:
    settings.LOGIN_MAX_FAILURES_PER_USER = 2
    assert request_token(client_from(client, EVE), "wrong").status_code == 401
    assert_retry_later(request_token(client_from(client, PROXY), "wrong"), "locked_out")

    response = request_token(client_from(client, ADA), PASSWORD)

    assert_retry_later(response, "locked_out")
    assert 3590 <= int(response.headers["Retry-After"]) <= 3600


def test_failed_logins_of_many_users_lock_the_ip_address(client: TestClient, owner: User, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES_PER_ADDRESS = 2
    for name in ("alice", "bob"):
        request_token(client_from(client, EVE), "wrong", name)

    assert_retry_later(request_token(client_from(client, EVE), PASSWORD), "locked_out")
    assert request_token(client_from(client, ADA), PASSWORD).status_code == 200


def test_attempts_during_a_lockout_do_not_extend_it(client: TestClient, owner: User, lock_after_two_failures: None) -> None:
    for _ in range(3):
        request_token(client_from(client, EVE), "wrong")
    LoginCounter.objects.update(expires_at=F("expires_at") - timedelta(seconds=270))
    request_token(client_from(client, EVE), "wrong")
    LoginCounter.objects.update(expires_at=F("expires_at") - timedelta(seconds=60))

    assert request_token(client_from(client, EVE), PASSWORD).status_code == 200


def test_a_login_resets_the_failures(client: TestClient, owner: User, lock_after_two_failures: None) -> None:
    for password in ("wrong", PASSWORD, "wrong"):
        request_token(client, password)

    assert request_token(client, PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("limit", "ip_address"),
    [("LOGIN_MAX_FAILURES", EVE), ("LOGIN_MAX_FAILURES_PER_USER", PROXY), ("LOGIN_MAX_FAILURES_PER_ADDRESS", EVE)],
)
def test_a_login_does_not_reset_the_failures_of_another_user(
    client: TestClient, owner: User, teammate: User, settings: Settings, limit: str, ip_address: str
) -> None:
    setattr(settings, limit, 2)
    eve = client_from(client, EVE)
    request_token(eve, "wrong")
    assert request_token(eve, PASSWORD, "teammate").status_code == 200

    assert_retry_later(request_token(client_from(client, ip_address), "wrong"), "locked_out")


def test_a_login_in_the_admin_does_not_reset_the_failures_of_another_user(
    owner: User, teammate: User, lock_after_two_failures: None
) -> None:
    forms = [{"username": name, "password": password} for name, password in (("owner", "wrong"), ("teammate", PASSWORD))]

    responses = [Browser(REMOTE_ADDR=EVE).post("/admin/login/", form).status_code for form in (*forms, forms[0])]

    assert responses == [200, 302, 429]


def test_a_login_does_not_reset_the_failures_of_another_ip_address(
    client: TestClient, owner: User, lock_after_two_failures: None
) -> None:
    request_token(client_from(client, EVE), "wrong")
    assert request_token(client_from(client, ADA), PASSWORD).status_code == 200

    assert_retry_later(request_token(client_from(client, EVE), "wrong"), "locked_out")


def test_the_admin_and_the_api_share_the_lockout(client: TestClient, owner: User, lock_after_two_failures: None) -> None:
    for _ in range(2):
        request_token(client_from(client, "127.0.0.1"), "wrong")

    page = Browser().post("/admin/login/", {"username": "owner", "password": PASSWORD})

    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) > 0
    assert "Try again in 5 minutes" in page.content.decode()


def test_an_untrusted_client_cannot_choose_the_locked_ip_address(client: TestClient, owner: User, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES_PER_ADDRESS = 2
    stranger = client_from(client, EVE)
    for name, forwarded in (("alice", "192.0.2.1"), ("bob", "192.0.2.2")):
        request_token(stranger, "wrong", name, **{"X-Forwarded-For": forwarded})

    assert_retry_later(request_token(stranger, PASSWORD, **{"X-Forwarded-For": "192.0.2.3"}), "locked_out")


def test_locks_the_client_of_a_trusted_proxy(client: TestClient, owner: User, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES_PER_ADDRESS = 2
    proxy = client_from(client, PROXY, proxies=[PROXY])
    for name in ("alice", "bob"):
        request_token(proxy, "wrong", name, **{"X-Forwarded-For": f"192.0.2.1, {EVE}"})

    assert request_token(proxy, PASSWORD, **{"X-Forwarded-For": ADA}).status_code == 200
    assert_retry_later(request_token(proxy, PASSWORD, **{"X-Forwarded-For": EVE}), "locked_out")


def test_an_impossible_username_is_not_counted_as_a_failure(client: TestClient, db: None) -> None:
    response = request_token(client, PASSWORD, "x" * 10_000)

    assert response.status_code == 401
    assert not LoginCounter.objects.exists()
