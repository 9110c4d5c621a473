"""People: the first administrator, and what a user's permissions allow."""

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.test import RequestFactory

from project.accounts.first_admin import create_first_admin
from project.accounts.models import User
from project.accounts.principal import MissingScope, NotAuthenticated, Principal, of_session
from project.accounts.scopes import PERMISSIONS, SCOPES, scopes_of, unknown
from project.accounts.tokens import issue_token, principal_of_token
from project.errors import Refusal
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

ADA = Principal("session", "ada", frozenset({"emails:send", "emails:read"}))


# The first administrator


def test_the_first_administrator_has_a_made_up_password() -> None:
    password = create_first_admin(username="admin", password=None)

    admin = User.objects.get(username="admin")
    assert password is not None
    assert len(password) >= 16
    assert admin.check_password(password)
    assert (admin.is_superuser, admin.is_staff) == (True, True)


def test_the_first_administrator_has_the_password_given() -> None:
    made_up = create_first_admin(username="ada", password=PASSWORD)

    assert made_up is None
    assert User.objects.get(username="ada").check_password(PASSWORD)


@pytest.mark.parametrize("password", [None, "another"])
def test_there_is_one_first_administrator(password: str | None) -> None:
    create_first_admin(username="admin", password=PASSWORD)

    made_up = create_first_admin(username="second", password=password)

    assert made_up is None
    assert User.objects.get().check_password(PASSWORD)


def test_a_teammate_is_no_administrator(teammate: User) -> None:
    create_first_admin(username="admin", password=None)

    assert User.objects.filter(is_superuser=True).get().username == "admin"


# Scopes


def test_every_scope_has_a_permission() -> None:
    assert PERMISSIONS.keys() == SCOPES.keys()


def test_a_superuser_has_every_scope(owner: User) -> None:
    assert scopes_of(owner) == SCOPES.keys()


def test_a_user_without_permissions_has_no_scope(teammate: User) -> None:
    assert scopes_of(teammate) == frozenset()


@pytest.mark.parametrize(
    ("codename", "scopes"),
    [("add_email", {"emails:send"}), ("view_email", {"emails:read", "events:read"}), ("delete_email", set())],
)
def test_a_permission_gives_its_scopes(teammate: User, codename: str, scopes: set[str]) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename=codename))

    assert scopes_of(teammate) == scopes


def test_a_deactivated_user_has_no_scope(owner: User) -> None:
    owner.is_active = False

    assert scopes_of(owner) == frozenset()


def test_unknown_scopes_are_told_in_order() -> None:
    assert unknown(["z", "emails:send", "a", "z"]) == ["a", "z"]


# Principals


def test_a_session_may_what_its_user_may(owner: User) -> None:
    assert of_session(owner) == Principal("session", "owner", frozenset(SCOPES), f"user:{owner.pk}", sees_all=True)


@pytest.mark.parametrize("scopes", [(), ("emails:send",), ("emails:send", "emails:read")])
def test_a_principal_passes_with_its_scopes(scopes: tuple[str, ...]) -> None:
    ADA.require(*scopes)


def test_a_principal_is_told_every_scope_it_lacks() -> None:
    with pytest.raises(MissingScope) as refused:
        ADA.require("templates:write", "emails:send", "events:read")

    assert refused.value.detail == "This needs the scope events:read, templates:write."


def test_a_refusal_is_a_sentence_and_a_code() -> None:
    refusal = NotAuthenticated("Who are you?")

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.detail, str(refusal)) == ("not_authenticated", "Who are you?", "Who are you?")


def test_a_token_tells_nothing_of_the_password(owner: User) -> None:
    token = issue_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text

    assert owner.password.rpartition("$")[2] not in token
    assert owner.get_session_auth_hash()[:32] not in token
    assert principal_of_token(token).name == "owner"


def test_a_token_is_for_users_of_ours_alone(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.contrib.auth.authenticate", lambda *_args, **_kwargs: AnonymousUser())

    with pytest.raises(NotAuthenticated):
        issue_token(RequestFactory().post("/"), username="owner", password=PASSWORD)
