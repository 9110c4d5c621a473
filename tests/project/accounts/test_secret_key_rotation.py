"""A new SECRET_KEY: what the old key signed stays valid while the old key is in SECRET_KEY_FALLBACKS."""

from collections.abc import Callable

import pytest
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.accounts.recovery_codes import create_recovery_codes
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import bearer

Rotate = Callable[..., None]


@pytest.fixture
def rotate(settings: Settings) -> Rotate:
    """Return a function that sets a new secret key. The old key becomes a fallback, unless it has leaked."""

    def rotate(*, has_leaked: bool = False) -> None:
        fallbacks = [] if has_leaked else [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = f"new {len(fallbacks)} " * 10, fallbacks

    return rotate


@pytest.fixture
def browser(owner: User) -> Client:
    """Return a browser that is logged in as the owner."""
    browser = Client()
    browser.force_login(owner)
    return browser


@pytest.mark.parametrize("has_leaked", [False, True])
def test_a_session_in_the_admin(browser: Client, rotate: Rotate, has_leaked: bool) -> None:
    rotate(has_leaked=has_leaked)

    assert browser.get("/admin/").status_code == (302 if has_leaked else 200)


def test_a_session_in_the_api_and_then_in_the_admin(browser: Client, client: TestClient, rotate: Rotate) -> None:
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)
    rotate()

    assert [client.get("/api/me").status_code for _ in range(2)] == [200, 200]
    assert browser.get("/admin/").status_code == 200


@pytest.mark.parametrize("has_leaked", [False, True])
def test_an_access_token(owner: User, client: TestClient, rotate: Rotate, has_leaked: bool) -> None:
    token = client.post("/api/token", data={"username": "owner", "password": PASSWORD}).json()["access_token"]
    rotate(has_leaked=has_leaked)

    assert client.get("/api/me", headers=bearer(token)).status_code == (401 if has_leaked else 200)


def test_an_access_token_ends_with_a_new_password_in_spite_of_a_fallback(owner: User, client: TestClient, rotate: Rotate) -> None:
    token = client.post("/api/token", data={"username": "owner", "password": PASSWORD}).json()["access_token"]
    rotate()
    owner.set_password("another")
    owner.save()

    assert client.get("/api/me", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("rotations", [1, 2])
def test_a_recovery_code_works_once(owner: User, client: TestClient, rotate: Rotate, rotations: int) -> None:
    TOTPDevice.objects.create(user=owner, name="app", confirmed=True)
    code = create_recovery_codes(owner)[0]
    for _ in range(rotations):
        rotate()
    form = {"username": "owner", "password": PASSWORD, "otp": code}

    assert [client.post("/api/token", data=form).status_code for _ in range(2)] == [200, 403]


def test_a_known_device(owner: User, rotate: Rotate, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 1
    known, form = Client(), {"username": "owner", "password": PASSWORD}
    known.post("/admin/login/", form)
    known.post("/admin/logout/")
    rotate()
    Client().post("/admin/login/", {**form, "password": "wrong"})

    assert known.post("/admin/login/", form).status_code == 302
