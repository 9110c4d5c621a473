"""Login lockout: parallel attempts, known devices, and every page that checks a password or a code."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.signals import user_logged_in
from django.db import connection
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts import hashing
from project.accounts.hashing import BoundedPBKDF2PasswordHasher, LoginBusy
from project.accounts.models import LoginCounter, User
from project.asgi import application
from project.config.rates import parse_rate
from tests.conftest import PASSWORD
from tests.project.accounts.two_factor_steps import current_code, incorrect_code

ADA, EVE = "198.51.100.7", "198.51.100.8"
LOGIN, TWO_FACTOR, NEW_PASSWORD = "/admin/login/", "/admin/two-factor/", "/admin/password_change/"
GUESSES = 18


def log_in(browser: Client, password: str = PASSWORD, **form: str) -> int:
    """Submit the login form as the owner. Return the status: 302 after a login, 200 after a wrong password, 429 if locked."""
    return browser.post(LOGIN, {"username": "owner", "password": password, **form}).status_code


# Parallel attempts


def in_parallel(attempt: Callable[[int], int]) -> list[int]:
    """Run the attempts on threads of their own, which all start at the same moment. Return the statuses."""
    barrier = Barrier(GUESSES)

    def run(number: int) -> int:
        barrier.wait(timeout=30)
        try:
            return attempt(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(GUESSES) as threads:
        return list(threads.map(run, range(GUESSES)))


@pytest.fixture
def checks() -> Any:
    """Count the checks of a password."""
    with patch.object(MD5PasswordHasher, "verify", autospec=True, side_effect=MD5PasswordHasher.verify) as verify:
        yield verify


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_in_the_admin_get_no_more_checks_than_the_limit(checks: Any, transactional_db: None) -> None:
    User.objects.create_superuser("owner", password=PASSWORD)

    statuses = in_parallel(lambda _number: log_in(Client(), "wrong"))

    assert statuses.count(429) == GUESSES - 9  # the tenth check reaches the limit
    assert checks.call_count == 10


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_for_a_token_get_no_more_checks_than_the_limit(checks: Any, transactional_db: None) -> None:
    User.objects.create_superuser("owner", password=PASSWORD)
    form = {"username": "owner", "password": "wrong"}

    statuses = in_parallel(lambda _number: TestClient(application).post("/api/token", data=form).status_code)

    assert (statuses.count(401), statuses.count(429)) == (9, GUESSES - 9)
    assert checks.call_count == 10


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_of_a_code_get_no_more_checks_than_the_limit(transactional_db: None) -> None:
    user = User.objects.create_superuser("owner", password=PASSWORD)
    code = incorrect_code(TOTPDevice.objects.create(user=user, name="app", confirmed=True))

    with patch("project.accounts.two_factor._verify", return_value=False) as verify:
        statuses = in_parallel(lambda _number: log_in(Client(), otp=code))

    assert (statuses.count(200), statuses.count(429)) == (9, GUESSES - 9)
    assert verify.call_count == 10


# Pages that check a password or a code of a logged-in user


@pytest.fixture
def device(owner: User) -> TOTPDevice:
    """Return the owner's confirmed device."""
    return TOTPDevice.objects.create(user=owner, name="app", confirmed=True)


@pytest.mark.parametrize("form", [{"otp": "000000000000"}, {"otp": "0000", "renew": "yes"}])
def test_incorrect_codes_on_the_two_factor_page_are_counted(
    owner: User, device: TOTPDevice, settings: Settings, form: dict[str, str]
) -> None:
    settings.LOGIN_MAX_FAILURES = 2
    browser = Client(REMOTE_ADDR=EVE)
    browser.force_login(owner)

    statuses = [browser.post(TWO_FACTOR, form).status_code for _ in range(3)]

    assert statuses == [200, 429, 429]
    assert log_in(Client(REMOTE_ADDR=EVE), otp=current_code(device)) == 429


def test_a_correct_code_is_not_counted(owner: User, device: TOTPDevice, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    browser = Client()
    browser.force_login(owner)

    assert "0 recovery codes" not in browser.post(TWO_FACTOR, {"otp": current_code(device), "renew": "yes"}).content.decode()
    assert not LoginCounter.objects.filter(failures__gt=0).exists()


def test_a_correct_old_password_is_not_counted(owner: User, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    browser = Client()
    browser.force_login(owner)
    form = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}

    assert [browser.post(NEW_PASSWORD, form).status_code for _ in range(2)] == [200, 200]


def test_a_missing_code_is_not_counted(device: TOTPDevice, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1

    assert [log_in(Client()) for _ in range(2)] == [200, 200]


# Known devices


@pytest.fixture
def known(owner: User) -> Client:
    """Return a browser that the owner has logged in with before."""
    browser = Client(REMOTE_ADDR=ADA)
    assert log_in(browser) == 302
    browser.post("/admin/logout/")
    return browser


@pytest.mark.parametrize("limit", ["LOGIN_MAX_FAILURES", "LOGIN_MAX_FAILURES_PER_USER", "LOGIN_MAX_FAILURES_PER_ADDRESS"])
def test_a_stranger_cannot_lock_a_user_out_on_a_known_device(known: Client, settings: Settings, limit: str) -> None:
    setattr(settings, limit, 2)
    for _ in range(3):
        log_in(Client(REMOTE_ADDR=ADA), "wrong")

    assert log_in(Client(REMOTE_ADDR=ADA)) == 429
    assert log_in(known) == 302


def test_failures_on_a_known_device_lock_this_device_only(known: Client, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 2

    assert [log_in(known, "wrong"), log_in(known, "wrong"), log_in(known)] == [200, 429, 429]
    assert log_in(Client(REMOTE_ADDR=ADA)) == 302


def test_a_device_is_known_for_one_user_only(known: Client, teammate: User, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    form = {"username": "teammate", "password": "wrong"}
    (cookie,) = [cookie for name, cookie in known.cookies.items() if name.startswith("device-")]
    Client(REMOTE_ADDR=ADA).post(LOGIN, form)

    assert known.post(LOGIN, form).status_code == 429
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("value", ["", "nonsense", "é", "x" * 4000, "ImEi:1vN0Xy:2hJ8Qf0cW7"])
def test_a_forged_device_cookie_is_ignored(known: Client, settings: Settings, value: str) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    stranger = Client(REMOTE_ADDR=EVE)
    (name,) = [name for name in known.cookies if name.startswith("device-")]
    stranger.cookies[name] = value
    log_in(Client(REMOTE_ADDR=EVE), "wrong")

    assert log_in(stranger) == 429


# The rate limit of logins, and hashing


@pytest.mark.django_db(transaction=True)  # the server's threads have connections of their own
def test_the_admin_limits_the_rate_of_logins(settings: Settings) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "login": parse_rate("2/minute")}
    form = {"username": "owner", "password": "wrong"}

    with TestClient(application, client=(EVE, 1)) as client:
        responses = [client.post(LOGIN, data=csrf(client) | form) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert int(responses[-1].headers["Retry-After"]) > 0


def csrf(client: TestClient) -> dict[str, str]:
    """Open the login page. Return the form field with the CSRF token."""
    client.get(LOGIN)
    return {"csrfmiddlewaretoken": client.cookies["csrftoken"]}


def test_at_most_two_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "WAIT_SECONDS", 0.01)
    with hashing._slot(), hashing._slot(), pytest.raises(LoginBusy):
        BoundedPBKDF2PasswordHasher().encode(PASSWORD, "salt", 1)

    assert BoundedPBKDF2PasswordHasher().encode(PASSWORD, "salt", 1).startswith("pbkdf2_sha256$1$salt$")


def test_a_busy_server_answers_503_and_counts_no_failure(owner: User, client: TestClient, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    form = {"username": "owner", "password": PASSWORD}

    with patch("django.contrib.auth.hashers.MD5PasswordHasher.verify", side_effect=hashing._busy()):
        statuses = [client.post("/api/token", data=form).status_code, log_in(Client())]

    assert statuses == [503, 503]
    assert [client.post("/api/token", data=form).status_code, log_in(Client())] == [200, 302]


@pytest.mark.parametrize("path", [NEW_PASSWORD, "/admin/reauthenticate/", "/admin/accounts/user/add/"])
def test_every_page_of_the_admin_that_hashes_answers_503_if_the_server_is_busy(owner: User, path: str) -> None:
    new = {"username": "new", "usable_password": "true", "password1": "a long pass phrase", "password2": "a long pass phrase"}
    browser = Client()
    browser.force_login(owner)

    with (
        patch("django.contrib.auth.hashers.MD5PasswordHasher.verify", side_effect=hashing._busy()),
        patch("django.contrib.auth.hashers.MD5PasswordHasher.encode", side_effect=hashing._busy()),
    ):
        response = browser.post(path, {"old_password": PASSWORD, "password": PASSWORD, **new})

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert not LoginCounter.objects.filter(failures__gt=0).exists()


def test_a_login_without_a_request_is_possible(owner: User) -> None:
    user_logged_in.send(sender=User, request=None, user=owner)

    assert Client().login(username="owner", password=PASSWORD)
