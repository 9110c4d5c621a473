"""Staff who are not superusers: the permissions they can grant, and the users they can manage. Lookups reveal no secrets."""

from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.models import User
from project.api_keys.models import ApiKey
from tests.conftest import PASSWORD

NEW_PASSWORD = "a new horse battery staple"
USER_PERMISSIONS = ("change_user", "delete_user", "view_user", "add_group", "change_group", "delete_group")
DEVICE_PERMISSIONS = tuple(
    f"{action}_{kind}device" for action in ("add", "change", "delete", "view") for kind in ("totp", "static")
)


def permissions(*codenames: str) -> list[Permission]:
    """Return the permissions with these codenames."""
    return list(Permission.objects.filter(codename__in=codenames))


@pytest.fixture
def staff(teammate: User) -> Client:
    """Return a client logged in as the teammate, who may manage users, groups and devices, and send emails."""
    teammate.user_permissions.set(permissions(*USER_PERMISSIONS, *DEVICE_PERMISSIONS, "add_email"))
    browser = Client()
    browser.force_login(teammate)
    return browser


@pytest.fixture
def stranger(db: None) -> User:
    """Return a user without any permission."""
    return User.objects.create_user("stranger", password=PASSWORD)


def submit_user_form(browser: Client, user: User, **changes: Any) -> Any:
    """Submit the change form of a user, and return the form's errors, or an empty dict if the change was saved."""
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    response = browser.post(
        f"/admin/accounts/user/{user.pk}/change/", {"username": user.username, "is_active": "on", **joined, **changes}
    )
    return dict(response.context["adminform"].form.errors) if response.status_code == 200 else {}


def set_password(browser: Client, user: User) -> int:
    """Submit the password form of a user, and return the HTTP status."""
    form = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return browser.post(f"/admin/accounts/user/{user.pk}/password/", form).status_code


# Users


def test_staff_cannot_make_themselves_superusers(staff: Client, teammate: User) -> None:
    assert submit_user_form(staff, teammate, is_superuser="on", is_staff="on", first_name="Tea") == {}

    teammate.refresh_from_db()
    assert (teammate.first_name, teammate.is_superuser) == ("Tea", False)


def test_a_superuser_can_make_another_superuser(browser: Client, stranger: User) -> None:
    assert submit_user_form(browser, stranger, is_superuser="on") == {}

    assert User.objects.get(pk=stranger.pk).is_superuser


def test_staff_can_grant_permissions_that_they_have(staff: Client, stranger: User) -> None:
    group = Group.objects.create(name="senders")
    group.permissions.set(permissions("add_email"))
    (held,) = permissions("change_user")

    assert submit_user_form(staff, stranger, user_permissions=[held.pk], groups=[group.pk]) == {}

    assert list(stranger.user_permissions.all()) == [held]
    assert list(stranger.groups.all()) == [group]


def test_staff_cannot_grant_permissions_that_they_lack(staff: Client, stranger: User) -> None:
    group = Group.objects.create(name="support")
    (not_held,) = permissions("add_apikey")
    group.permissions.set([not_held, *permissions("add_email")])

    errors = submit_user_form(staff, stranger, user_permissions=[not_held.pk], groups=[group.pk])

    assert errors.keys() == {"user_permissions", "groups"}
    assert "only grant permissions that you have" in str(errors)
    assert not stranger.user_permissions.exists()


@pytest.fixture(params=["superuser", "deactivated superuser", "permission", "deactivated permission", "group"])
def more_privileged_user(request: pytest.FixtureRequest, stranger: User) -> User:
    """Return a user who has a permission that the teammate does not have."""
    stranger.is_superuser, stranger.is_active = "superuser" in request.param, "deactivated" not in request.param
    stranger.save()
    if "permission" in request.param:
        stranger.user_permissions.set(permissions("add_apikey"))
    if request.param == "group":
        stranger.groups.create(name="support").permissions.set(permissions("add_apikey"))
    return stranger


def test_staff_cannot_change_or_delete_a_more_privileged_user(staff: Client, more_privileged_user: User) -> None:
    page = f"/admin/accounts/user/{more_privileged_user.pk}"

    responses = [
        set_password(staff, more_privileged_user),
        staff.post(f"{page}/change/", {"username": "mine"}).status_code,
        staff.post(f"{page}/delete/", {"post": "yes"}).status_code,
    ]
    staff.post(
        "/admin/accounts/user/", {"action": "delete_selected", "_selected_action": [more_privileged_user.pk], "post": "yes"}
    )

    assert responses == [403, 403, 403]
    assert User.objects.get(username="stranger").check_password(PASSWORD)
    assert staff.get(f"{page}/change/").status_code == 200  # the staff user may still view the page


def test_staff_can_set_the_password_of_a_less_privileged_user(staff: Client, stranger: User) -> None:
    assert set_password(staff, stranger) == 302

    assert User.objects.get(pk=stranger.pk).check_password(NEW_PASSWORD)


# Groups


def test_staff_cannot_create_a_group_with_permissions_that_they_lack(staff: Client) -> None:
    (held,), (not_held,) = permissions("add_email"), permissions("add_apikey")

    rejected = staff.post("/admin/auth/group/add/", {"name": "support", "permissions": [held.pk, not_held.pk]})
    created = staff.post("/admin/auth/group/add/", {"name": "senders", "permissions": [held.pk]})

    assert "only grant permissions that you have" in rejected.content.decode()
    assert (created.status_code, [group.name for group in Group.objects.all()]) == (302, ["senders"])


def test_staff_cannot_change_or_delete_a_more_privileged_group(staff: Client) -> None:
    group = Group.objects.create(name="support")
    group.permissions.set(permissions("add_apikey"))

    responses = [
        staff.post(f"/admin/auth/group/{group.pk}/{action}/", {"name": "x", "post": "yes"}) for action in ("change", "delete")
    ]

    assert [response.status_code for response in responses] == [403, 403]
    assert Group.objects.get().name == "support"


# Two-factor devices


@pytest.mark.parametrize("model", [TOTPDevice, StaticDevice])
def test_staff_cannot_manage_the_device_of_a_more_privileged_user(staff: Client, owner: User, stranger: User, model: Any) -> None:
    device, other = (model.objects.create(user=user, name="app") for user in (owner, stranger))
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}"

    assert staff.post(f"{path}/{device.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.post(f"{path}/{device.pk}/change/", {"name": "x"}).status_code == 403
    response = staff.post(f"{path}/{other.pk}/change/", {"user": owner.pk, "name": "x"})
    assert "only to users who have no permission beyond yours" in response.content.decode()
    assert set(model.objects.values_list("user", flat=True)) == {owner.pk, stranger.pk}


def test_staff_can_delete_the_device_of_a_less_privileged_user(staff: Client, stranger: User) -> None:
    device = TOTPDevice.objects.create(user=stranger, name="app")

    staff.post(f"/admin/otp_totp/totpdevice/{device.pk}/delete/", {"post": "yes"})

    assert not TOTPDevice.objects.exists()


# Secrets


@pytest.mark.parametrize(
    ("model", "column"),
    [
        *((TOTPDevice, column) for column in ("key", "last_t", "user__password")),
        *((StaticDevice, column) for column in ("token_set__token", "user__password")),
        *((ApiKey, column) for column in ("secret_hash", "previous_secret_hash")),
        (User, "password"),
    ],
)
def test_rejects_lookups_of_secret_columns(browser: Client, model: Any, column: str) -> None:
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

    for lookup in ("", "__exact", "__gte", "__startswith", "__isnull"):
        assert not site._registry[model].lookup_allowed(f"{column}{lookup}", "a", None)  # type: ignore[arg-type]
        assert browser.get(path, {f"{column}{lookup}": "1"}).status_code == 400


@pytest.mark.parametrize("kind", ["totp", "static"])
def test_allows_the_filter_of_the_device_list(browser: Client, kind: str) -> None:
    assert browser.get(f"/admin/otp_{kind}/{kind}device/", {"confirmed__exact": "1"}).status_code == 200
