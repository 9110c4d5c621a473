"""Re-authentication: pages that create or reveal credentials, or change users, ask for the password again."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.audit.models import AuditAction, AuditEvent
from tests.conftest import PASSWORD
from tests.project.accounts.two_factor_steps import current_code, incorrect_code

REAUTHENTICATE = "/admin/reauthenticate/"
CLIENT_IP = "198.51.100.7"


@pytest.fixture
def browser(owner: User) -> Client:
    """Return a browser whose owner logged in more than ten minutes ago."""
    browser = Client(REMOTE_ADDR=CLIENT_IP)
    browser.force_login(owner)
    make_old(browser)
    return browser


def make_old(browser: Client) -> None:
    """Move the last authentication of the browser's session more than ten minutes into the past."""
    session = browser.session
    session["reauthenticated_at"] -= 601
    session.save()


def confirm(browser: Client, password: str = PASSWORD, **form: str) -> Any:
    """Submit the password on the page that asks for it."""
    return browser.post(REAUTHENTICATE, {"password": password, **form})


@pytest.fixture
def paths(owner: User, teammate: User) -> dict[str, str]:
    """Return the paths of the pages that need a recent password."""
    device = TOTPDevice.objects.create(user=teammate, name="app", confirmed=True)
    create_key("shop", scopes=["emails:send"])
    group = Group.objects.create(name="senders")
    return {
        "new key": "/admin/api_keys/apikey/add/",
        "rotate a key": f"/admin/api_keys/apikey/{ApiKey.objects.get().pk}/rotate/",
        "two-factor": "/admin/two-factor/",
        "new user": "/admin/accounts/user/add/",
        "permissions": f"/admin/accounts/user/{teammate.pk}/change/",
        "password": f"/admin/accounts/user/{teammate.pk}/password/",
        "delete a user": f"/admin/accounts/user/{teammate.pk}/delete/",
        "own password": "/admin/password_change/",
        "new group": "/admin/auth/group/add/",
        "group": f"/admin/auth/group/{group.pk}/change/",
        "new device": "/admin/otp_totp/totpdevice/add/",
        "device": f"/admin/otp_totp/totpdevice/{device.pk}/change/",
        "delete a device": f"/admin/otp_totp/totpdevice/{device.pk}/delete/",
        "new codes": "/admin/otp_static/staticdevice/add/",
    }


NAMES = [
    *("new key", "rotate a key", "two-factor", "new user", "permissions", "password", "delete a user", "own password"),
    *("new group", "group", "new device", "device", "delete a device", "new codes"),
]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_for_the_password_after_ten_minutes(browser: Client, paths: dict[str, str], name: str, method: str) -> None:
    response = getattr(browser, method)(paths[name])

    assert (response.status_code, response["Location"].partition("?")[0]) == (302, REAUTHENTICATE)
    confirmed = confirm(browser, next=paths[name])
    assert confirmed["Location"] == paths[name]
    assert browser.get(paths[name]).status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_a_page_does_not_ask_after_a_login(owner: User, paths: dict[str, str], name: str) -> None:
    browser = Client()
    browser.force_login(owner)

    assert browser.get(paths[name]).status_code == 200


@pytest.mark.parametrize("model", ["accounts/user", "auth/group", "otp_totp/totpdevice", "otp_static/staticdevice"])
def test_an_action_on_rows_asks_for_the_password(browser: Client, teammate: User, model: str) -> None:
    response = browser.post(f"/admin/{model}/", {"action": "delete_selected", "_selected_action": [teammate.pk], "post": "yes"})

    assert response["Location"].startswith(REAUTHENTICATE)
    assert User.objects.filter(pk=teammate.pk).exists()


@pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/user/", "/admin/api_keys/apikey/", "/admin/sessions/"])
def test_reading_needs_no_recent_password(browser: Client, path: str) -> None:
    assert browser.get(path).status_code == 200


def test_rejects_a_wrong_password(browser: Client) -> None:
    page = confirm(browser, "wrong").content.decode()

    assert "The password is incorrect." in page
    assert browser.get("/admin/two-factor/").status_code == 302


def test_asks_for_the_code_if_two_factor_login_is_on(owner: User, browser: Client) -> None:
    device = TOTPDevice.objects.create(user=owner, name="app", confirmed=True)
    browser.force_login(owner)
    make_old(browser)

    assert "A two-factor code is required." in confirm(browser).content.decode()
    assert "The code is incorrect" in confirm(browser, otp=incorrect_code(device)).content.decode()
    TOTPDevice.objects.update(throttling_failure_count=0)
    assert confirm(browser, otp=current_code(device))["Location"] == "/admin/"


def test_guesses_are_counted_for_the_lockout(browser: Client, settings: Settings) -> None:
    settings.LOGIN_MAX_FAILURES = 2

    assert [confirm(browser, password).status_code for password in ("a", "b", PASSWORD)] == [200, 429, 429]


@pytest.mark.parametrize("destination", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_a_refused_next_leads_to_the_admin(browser: Client, destination: str) -> None:
    assert confirm(browser, next=destination)["Location"] == "/admin/"


def test_is_audited(browser: Client) -> None:
    confirm(browser, "wrong")
    confirm(browser)

    events = AuditEvent.objects.exclude(action=AuditAction.LOGGED_IN).order_by("pk")
    assert list(events.values_list("action", "actor", "ip_address")) == [
        (AuditAction.REJECTED, "owner", CLIENT_IP),
        (AuditAction.REAUTHENTICATED, "owner", CLIENT_IP),
    ]


def test_requires_a_login(db: None) -> None:
    assert Client().get(REAUTHENTICATE)["Location"].startswith("/admin/login/")
