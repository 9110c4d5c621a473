"""Users: the first administrator, scopes, principals and sender patterns."""

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.test import RequestFactory
from pytest_django import Settings

from project.accounts.first_admin import create_first_admin
from project.accounts.models import User
from project.auth.access_tokens import authenticate_access_token, issue_access_token
from project.auth.principal import InsufficientScope, NotAuthenticated, Principal, SenderNotAllowed
from project.auth.scopes import PERMISSIONS, SCOPES, scopes_for_user, unknown_scopes
from project.auth.sender_patterns import matches_pattern, normalize_pattern
from project.auth.session_principal import session_principal
from project.emails.mime.email_addresses import normalize_address
from project.errors import DomainError
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

ADA = Principal("session", "ada", frozenset({"emails:send", "emails:read"}))


# The first administrator


def test_generates_a_password_for_the_first_administrator() -> None:
    password = create_first_admin(username="admin", password=None)

    admin = User.objects.get(username="admin")
    assert password is not None
    assert len(password) >= 16
    assert admin.check_password(password)
    assert (admin.is_superuser, admin.is_staff) == (True, True)


def test_sets_the_given_password_for_the_first_administrator() -> None:
    generated = create_first_admin(username="ada", password=PASSWORD)

    assert generated is None
    assert User.objects.get(username="ada").check_password(PASSWORD)


@pytest.mark.parametrize("password", [None, "another"])
def test_creates_no_second_administrator(password: str | None) -> None:
    create_first_admin(username="admin", password=PASSWORD)

    generated = create_first_admin(username="second", password=password)

    assert generated is None
    assert User.objects.get().check_password(PASSWORD)


def test_a_staff_user_does_not_count_as_an_administrator(teammate: User) -> None:
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
def test_a_permission_grants_its_scopes(teammate: User, codename: str, scopes: set[str]) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename=codename))

    assert scopes_for_user(teammate) == scopes


def test_a_deactivated_user_has_no_scope(owner: User) -> None:
    owner.is_active = False

    assert scopes_for_user(owner) == frozenset()


def test_returns_unknown_scopes_sorted() -> None:
    assert unknown_scopes(["z", "emails:send", "a", "z"]) == ["a", "z"]


# Principals


def test_a_session_has_all_permissions_of_its_user(owner: User) -> None:
    assert session_principal(owner) == Principal(
        "session", "owner", frozenset(SCOPES), f"user:{owner.pk}", can_view_all=True, can_change_all=True
    )


@pytest.mark.parametrize("scopes", [(), ("emails:send",), ("emails:send", "emails:read")])
def test_accepts_a_principal_with_the_required_scopes(scopes: tuple[str, ...]) -> None:
    ADA.require(*scopes)


def test_names_every_missing_scope() -> None:
    with pytest.raises(InsufficientScope) as error:
        ADA.require("templates:write", "emails:send", "events:read")

    assert error.value.detail == "Missing required scope: events:read, templates:write."


def test_a_principal_without_allowed_senders_may_send_from_any_address() -> None:
    ADA.require_sender("ada@anywhere.example")


def test_rejects_a_sender_that_matches_no_pattern() -> None:
    shop = Principal("key", "shop", frozenset(), allowed_senders=("*@example.com", "ada@b.example"))

    shop.require_sender("Billing@example.com")
    shop.require_sender("ada@b.example")
    with pytest.raises(SenderNotAllowed) as error:
        shop.require_sender("eve@b.example")

    assert error.value.code == "sender_not_allowed"
    assert (
        error.value.detail == "This API key cannot send from eve@b.example. Allowed From addresses: *@example.com, ada@b.example."
    )


def test_a_domain_error_has_a_detail_and_a_code() -> None:
    error = NotAuthenticated("Who are you?")

    assert isinstance(error, DomainError)
    assert (error.code, error.detail, str(error)) == ("not_authenticated", "Who are you?", "Who are you?")


def test_a_token_does_not_contain_password_hashes(owner: User) -> None:
    token = issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD).text

    assert owner.password.rpartition("$")[2] not in token
    assert owner.get_session_auth_hash()[:32] not in token
    assert authenticate_access_token(token).name == "owner"


def test_issues_no_token_for_a_foreign_user_class(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.contrib.auth.authenticate", lambda *_args, **_kwargs: AnonymousUser())

    with pytest.raises(NotAuthenticated):
        issue_access_token(RequestFactory().post("/"), username="owner", password=PASSWORD)


# Sender patterns


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
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
def test_matches_addresses(pattern: str, address: str, matches: bool) -> None:
    assert matches_pattern(pattern, address) == matches


def test_patterns_have_the_same_rules_as_from_addresses(settings: Settings) -> None:
    settings.ALLOW_INTERNAL_DOMAINS = settings.ALLOW_QUOTED_LOCAL_PARTS = True

    assert normalize_pattern("*@printer.local") == "*@printer.local"
    assert matches_pattern(normalize_pattern("a..b@localhost"), normalize_address("a..b@localhost"))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (" Ada@Example.COM ", "ada@example.com"),
        ("*@Example.COM", "*@example.com"),
        ("*@*.Example.COM", "*@*.example.com"),
        ("*@bücher.example", "*@xn--bcher-kva.example"),
    ],
)
def test_normalizes_a_pattern(text: str, pattern: str) -> None:
    assert normalize_pattern(text) == pattern
    assert normalize_pattern(pattern) == pattern


def test_a_normalized_pattern_matches_the_normalized_address() -> None:
    for text in ("Ada@Bücher.example", "a+b.c@EXAMPLE.com"):
        assert matches_pattern(normalize_pattern(text), normalize_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "example.com", "@example.com", "*@", "*@*", "*@*.com", "shop*@example.com", "**@example.com"),
        *("ada@*.example.com", "*@*.*.example.com", "*@exam*ple.com", "a\n@example.com"),
        *("Ada <ada@example.com>", "ada@example.com, eve@example.com"),
    ],
)
def test_rejects_an_invalid_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalize_pattern(text)
