"""Two-factor login that is required (`REQUIRE_2FA`): users with permissions set it up before they can do anything else."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client as Browser
from django.test import RequestFactory
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts.models import User
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import NotAuthenticated
from tests.conftest import PASSWORD
from tests.project.accounts.two_factor_steps import SETUP_URL, current_code, request_token


@pytest.fixture
def _required(settings: Settings) -> None:
    settings.REQUIRE_2FA = True


@pytest.mark.usefixtures("_required")
def test_redirects_users_without_a_device_to_the_setup(browser: Browser) -> None:
    page = browser.get("/admin/emails/email/", follow=True)

    assert page.redirect_chain[-1][0] == SETUP_URL
    assert "Set up two-factor login to continue." in page.content.decode()


@pytest.mark.usefixtures("_required")
def test_opens_the_admin_after_the_setup(browser: Browser) -> None:
    browser.get(SETUP_URL)

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert "Dashboard" in browser.get("/admin/").content.decode()


@pytest.mark.usefixtures("_required")
def test_the_api_rejects_a_session_without_a_device(browser: Browser, client: TestClient) -> None:
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)

    assert client.get("/api/me").status_code == 401


@pytest.mark.usefixtures("_required")
def test_issues_no_token_without_a_device(owner: User, client: TestClient) -> None:
    assert request_token(client) == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_two_factor_cannot_be_disabled_while_required(owner: User, device: Any) -> None:
    browser = Browser()
    browser.force_login(owner)

    assert browser.post(SETUP_URL, {"otp": current_code(device)}).status_code == 403
    assert owner.device is not None


@pytest.fixture
def sender(db: None) -> User:
    """Return a user who is not staff, and may send emails."""
    user = User.objects.create_user("sender", password=PASSWORD)
    user.user_permissions.add(Permission.objects.get(codename="add_email"))
    return user


@pytest.mark.usefixtures("_required")
def test_issues_no_token_for_a_user_with_a_permission_who_is_not_staff(sender: User, client: TestClient) -> None:
    assert request_token(client, username="sender") == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_issues_no_token_for_a_user_whose_group_has_a_permission(owner: User, client: TestClient) -> None:
    group = Group.objects.create(name="senders")
    group.permissions.add(Permission.objects.get(codename="add_email"))
    User.objects.create_user("member", password=PASSWORD).groups.add(group)

    assert request_token(client, username="member") == (403, "two_factor_required")


@pytest.mark.usefixtures("_required")
def test_users_without_permissions_need_no_device(db: None, client: TestClient) -> None:
    User.objects.create_user("guest", password=PASSWORD)

    assert request_token(client, username="guest") == (200, None)


@pytest.mark.usefixtures("_required")
def test_the_api_rejects_the_session_of_a_user_who_is_not_staff(sender: User, client: TestClient) -> None:
    browser = Browser()
    browser.force_login(sender)
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)

    assert client.get("/api/me").status_code == 401


def test_a_token_is_rejected_when_two_factor_becomes_required(sender: User, client: TestClient, settings: Settings) -> None:
    token = issue_access_token(RequestFactory().post("/"), username="sender", password=PASSWORD).text
    settings.REQUIRE_2FA = True

    with pytest.raises(NotAuthenticated, match="Two-factor login is required"):
        authenticate_access_token(token)


@pytest.mark.usefixtures("_required")
def test_a_user_who_is_not_staff_can_set_up_two_factor_and_nothing_else(sender: User, client: TestClient) -> None:
    browser = Browser()
    page = browser.post("/admin/login/?next=/admin/", {"username": "sender", "password": PASSWORD}, follow=True)
    assert page.redirect_chain[-1][0] == SETUP_URL

    browser.post(SETUP_URL, {"otp": current_code(TOTPDevice.objects.get())})

    assert sender.device is not None
    assert browser.get("/admin/", follow=True).redirect_chain[-1][0] == SETUP_URL
    assert browser.get("/admin/emails/email/", follow=True).redirect_chain[-1][0] == SETUP_URL


def test_a_user_who_is_not_staff_cannot_log_in_to_the_admin_without_the_requirement(sender: User) -> None:
    browser = Browser()

    page = browser.post("/admin/login/", {"username": "sender", "password": PASSWORD})

    assert "for a staff account" in page.content.decode()
    assert "sessionid" not in browser.cookies
