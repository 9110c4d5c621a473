"""Staff who are no superusers: they give what they hold, act on nobody who holds more, and read no secret by a list's lookups."""

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

NEW = "a new horse battery staple"
PEOPLE = ("change_user", "delete_user", "view_user", "add_group", "change_group", "delete_group")
DEVICES = tuple(f"{verb}_{kind}device" for verb in ("add", "change", "delete", "view") for kind in ("totp", "static"))


def permissions(*codenames: str) -> list[Permission]:
    """By their names."""
    return list(Permission.objects.filter(codename__in=codenames))


@pytest.fixture
def staff(teammate: User) -> Client:
    """Where the teammate is signed in, who looks after people, groups and devices, and may send."""
    teammate.user_permissions.set(permissions(*PEOPLE, *DEVICES, "add_email"))
    browser = Client()
    browser.force_login(teammate)
    return browser


@pytest.fixture
def stranger(db: None) -> User:
    """Somebody else, who may do nothing."""
    return User.objects.create_user("stranger", password=PASSWORD)


def save(browser: Client, user: User, **changes: Any) -> Any:
    """Send the form about a user. Gives what is wrong with it."""
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    answer = browser.post(
        f"/admin/accounts/user/{user.pk}/change/", {"username": user.username, "is_active": "on", **joined, **changes}
    )
    return dict(answer.context["adminform"].form.errors) if answer.status_code == 200 else {}


def set_password(browser: Client, user: User) -> int:
    """Send the form for another's password."""
    form = {"usable_password": "true", "password1": NEW, "password2": NEW}
    return browser.post(f"/admin/accounts/user/{user.pk}/password/", form).status_code


# People


def test_staff_do_not_make_themselves_superusers(staff: Client, teammate: User) -> None:
    assert save(staff, teammate, is_superuser="on", is_staff="on", first_name="Tea") == {}

    teammate.refresh_from_db()
    assert (teammate.first_name, teammate.is_superuser) == ("Tea", False)


def test_a_superuser_makes_another(browser: Client, stranger: User) -> None:
    assert save(browser, stranger, is_superuser="on") == {}

    assert User.objects.get(pk=stranger.pk).is_superuser


def test_staff_give_what_they_hold(staff: Client, stranger: User) -> None:
    group = Group.objects.create(name="senders")
    group.permissions.set(permissions("add_email"))
    (held,) = permissions("change_user")

    assert save(staff, stranger, user_permissions=[held.pk], groups=[group.pk]) == {}

    assert list(stranger.user_permissions.all()) == [held]
    assert list(stranger.groups.all()) == [group]


def test_staff_give_nothing_beyond_what_they_hold(staff: Client, stranger: User) -> None:
    group = Group.objects.create(name="keepers")
    (beyond,) = permissions("add_apikey")
    group.permissions.set([beyond, *permissions("add_email")])

    errors = save(staff, stranger, user_permissions=[beyond.pk], groups=[group.pk])

    assert errors.keys() == {"user_permissions", "groups"}
    assert "only what you hold yourself" in str(errors)
    assert not stranger.user_permissions.exists()


@pytest.fixture(params=["superuser", "deactivated superuser", "permission", "deactivated permission", "group"])
def greater(request: pytest.FixtureRequest, stranger: User) -> User:
    """Somebody who holds more than the teammate."""
    stranger.is_superuser, stranger.is_active = "superuser" in request.param, "deactivated" not in request.param
    stranger.save()
    if "permission" in request.param:
        stranger.user_permissions.set(permissions("add_apikey"))
    if request.param == "group":
        stranger.groups.create(name="keepers").permissions.set(permissions("add_apikey"))
    return stranger


def test_staff_do_nothing_to_who_holds_more(staff: Client, greater: User) -> None:
    page = f"/admin/accounts/user/{greater.pk}"

    answers = [
        set_password(staff, greater),
        staff.post(f"{page}/change/", {"username": "mine"}).status_code,
        staff.post(f"{page}/delete/", {"post": "yes"}).status_code,
    ]
    staff.post("/admin/accounts/user/", {"action": "delete_selected", "_selected_action": [greater.pk], "post": "yes"})

    assert answers == [403, 403, 403]
    assert User.objects.get(username="stranger").check_password(PASSWORD)
    assert staff.get(f"{page}/change/").status_code == 200  # to be looked at


def test_staff_set_the_password_of_who_holds_no_more(staff: Client, stranger: User) -> None:
    assert set_password(staff, stranger) == 302

    assert User.objects.get(pk=stranger.pk).check_password(NEW)


# Groups


def test_staff_put_nothing_into_a_group_beyond_what_they_hold(staff: Client) -> None:
    (held,), (beyond,) = permissions("add_email"), permissions("add_apikey")

    refused = staff.post("/admin/auth/group/add/", {"name": "keepers", "permissions": [held.pk, beyond.pk]})
    made = staff.post("/admin/auth/group/add/", {"name": "senders", "permissions": [held.pk]})

    assert "only what you hold yourself" in refused.content.decode()
    assert (made.status_code, [group.name for group in Group.objects.all()]) == (302, ["senders"])


def test_staff_do_not_change_a_group_that_holds_more(staff: Client) -> None:
    group = Group.objects.create(name="keepers")
    group.permissions.set(permissions("add_apikey"))

    answers = [staff.post(f"/admin/auth/group/{group.pk}/{verb}/", {"name": "x", "post": "yes"}) for verb in ("change", "delete")]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert Group.objects.get().name == "keepers"


# Devices


@pytest.mark.parametrize("model", [TOTPDevice, StaticDevice])
def test_staff_leave_the_device_of_who_holds_more(staff: Client, owner: User, stranger: User, model: Any) -> None:
    device, other = (model.objects.create(user=user, name="app") for user in (owner, stranger))
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}"

    assert staff.post(f"{path}/{device.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.post(f"{path}/{device.pk}/change/", {"name": "x"}).status_code == 403
    given = staff.post(f"{path}/{other.pk}/change/", {"user": owner.pk, "name": "x"})
    assert "only to who holds no more" in given.content.decode()
    assert set(model.objects.values_list("user", flat=True)) == {owner.pk, stranger.pk}


def test_staff_take_away_the_device_of_who_holds_no_more(staff: Client, stranger: User) -> None:
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
def test_no_list_answers_to_lookups_of_secrets(browser: Client, model: Any, column: str) -> None:
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

    for lookup in ("", "__exact", "__gte", "__startswith", "__isnull"):
        assert not site._registry[model].lookup_allowed(f"{column}{lookup}", "a", None)  # type: ignore[arg-type]
        assert browser.get(path, {f"{column}{lookup}": "1"}).status_code == 400


@pytest.mark.parametrize("kind", ["totp", "static"])
def test_the_filter_of_a_list_of_devices_still_works(browser: Client, kind: str) -> None:
    assert browser.get(f"/admin/otp_{kind}/{kind}device/", {"confirmed__exact": "1"}).status_code == 200
