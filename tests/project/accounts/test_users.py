"""People: the first administrator, and what a user's permissions allow."""

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.test import RequestFactory

from project.accounts.first_admin import create_first_admin
from project.accounts.models import User
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal, SenderNotAllowed
from project.auth.scopes import PERMISSIONS, SCOPES, scopes_for_user, unknown_scopes
from project.auth.sender_patterns import matches_pattern, normalize_pattern
from project.auth.session import session_principal
from project.emails.mime.email_addresses import normalize_address
from project.errors import DomainError
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
    assert scopes_for_user(owner) == SCOPES.keys()


def test_a_user_without_permissions_has_no_scope(teammate: User) -> None:
    assert scopes_for_user(teammate) == frozenset()


@pytest.mark.parametrize(
    ("codename", "scopes"),
    [("add_email", {"emails:send"}), ("view_email", {"emails:read", "events:read"}), ("delete_email", set())],
)
def test_a_permission_gives_its_scopes(teammate: User, codename: str, scopes: set[str]) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename=codename))

    assert scopes_for_user(teammate) == scopes


def test_a_deactivated_user_has_no_scope(owner: User) -> None:
    owner.is_active = False

    assert scopes_for_user(owner) == frozenset()


def test_unknown_scopes_are_told_in_order() -> None:
    assert unknown_scopes(["z", "emails:send", "a", "z"]) == ["a", "z"]


# Principals


def test_a_session_may_what_its_user_may(owner: User) -> None:
    assert session_principal(owner) == Principal(
        "session", "owner", frozenset(SCOPES), f"user:{owner.pk}", can_view_all=True, can_change_all=True
    )


@pytest.mark.parametrize("scopes", [(), ("emails:send",), ("emails:send", "emails:read")])
def test_a_principal_passes_with_its_scopes(scopes: tuple[str, ...]) -> None:
    ADA.require(*scopes)


def test_a_principal_is_told_every_scope_it_lacks() -> None:
    with pytest.raises(InsufficientScope) as refused:
        ADA.require("templates:write", "emails:send", "events:read")

    assert refused.value.detail == "This needs the scope events:read, templates:write."


def test_a_principal_without_senders_may_send_as_anybody() -> None:
    ADA.require_sender("anybody@anywhere.example")


def test_a_principal_may_send_as_its_senders_only() -> None:
    shop = Principal("key", "shop", frozenset(), allowed_senders=("*@example.com", "ada@b.example"))

    shop.require_sender("Billing@example.com")
    shop.require_sender("ada@b.example")
    with pytest.raises(SenderNotAllowed) as refused:
        shop.require_sender("eve@b.example")

    assert refused.value.code == "sender_not_allowed"
    assert refused.value.detail == "This API key may not send as eve@b.example, only as *@example.com, ada@b.example."


def test_a_refusal_is_a_sentence_and_a_code() -> None:
    refusal = NotAuthenticated("Who are you?")

    assert isinstance(refusal, DomainError)
    assert (refusal.code, refusal.detail, str(refusal)) == ("not_authenticated", "Who are you?", "Who are you?")


def test_a_token_tells_nothing_of_the_password(owner: User) -> None:
    token = issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text

    assert owner.password.rpartition("$")[2] not in token
    assert owner.get_session_auth_hash()[:32] not in token
    assert authenticate_access_token(token).name == "owner"


def test_a_token_is_for_users_of_ours_alone(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.contrib.auth.authenticate", lambda *_args, **_kwargs: AnonymousUser())

    with pytest.raises(NotAuthenticated):
        issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD)


# Senders


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("ada@example.com", "ada@example.com", True),
        ("ada@example.com", "ADA@Example.com", True),
        ("ada@example.com", "eve@example.com", False),
        ("*@example.com", "eve@example.com", True),
        ("*@example.com", "eve@mail.example.com", False),
        ("*@example.com", "eve@badexample.com", False),
        ("*@*.example.com", "eve@mail.example.com", True),
        ("*@*.example.com", "eve@a.mail.example.com", True),
        ("*@*.example.com", "eve@example.com", False),
        ("*@*.example.com", "eve@badexample.com", False),
        ("*@*.example.com", "eve@mail.example.com.evil.example", False),
        ("*@example.com", "Eve <eve@example.com>", False),
    ],
)
def test_a_pattern_stands_for_its_senders(pattern: str, address: str, fits: bool) -> None:
    assert matches_pattern(pattern, address) == fits


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("*@Example.COM", "*@example.com"),
        ("*@*.Example.COM", "*@*.example.com"),
        ("*@bücher.example", "*@xn--bcher-kva.example"),
    ],
)
def test_a_pattern_has_a_normal_form(text: str, pattern: str) -> None:
    assert normalize_pattern(text) == pattern
    assert normalize_pattern(pattern) == pattern


def test_a_pattern_fits_the_address_that_a_mail_gets_from_the_same_words() -> None:
    for written in ("Ada@Bücher.example", "a+b.c@EXAMPLE.com"):
        assert matches_pattern(normalize_pattern(written), normalize_address(written))


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "example.com", "@example.com", "*@", "*@*", "*@*.com", "shop*@example.com", "**@example.com"),
        *("ada@*.example.com", "*@*.*.example.com", "*@exam*ple.com", "a\n@example.com"),
        *("Ada <ada@example.com>", "ada@example.com, eve@example.com"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalize_pattern(text)
