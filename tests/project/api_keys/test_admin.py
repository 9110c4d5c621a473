"""API keys in the admin: creation, display, rotation, revocation and permissions."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from project.accounts.models import User
from project.api_keys.keys import authenticate_api_key, create_key
from project.api_keys.models import ApiKey
from project.auth.principal import NotAuthenticated

pytestmark = pytest.mark.usefixtures("shared_test_connection")

LIST_URL = "/admin/api_keys/apikey/"
FORM = {
    "name": "shop",
    "scopes": ["emails:send", "emails:read"],
    "allowed_senders": "*@Example.com\r\n\r\nada@b.example",
    "expires_at": "",
}


@pytest.fixture
def teammate_client(teammate: User) -> Client:
    """Return a client logged in as the teammate, who may create keys and send emails."""
    grant(teammate, "add_apikey", "view_apikey", "add_email")
    browser = Client()
    browser.force_login(teammate)
    return browser


def grant(user: User, *codenames: str) -> None:
    """Grant permissions to a user."""
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


def keys_on_page(response: Any) -> list[str]:
    """Return the API keys in the HTML of a response."""
    return re.findall(r"mr_[A-Za-z0-9]{57}", html.unescape(response.content.decode()))


def key_page_url(key: str) -> str:
    """Return the URL prefix of a key's pages."""
    return f"{LIST_URL}{ApiKey.objects.get(prefix=key[3:11]).pk}/"


def is_valid(key: str) -> bool:
    """Return whether authentication with the key succeeds."""
    try:
        authenticate_api_key(key, now=timezone.now())
    except NotAuthenticated:
        return False
    return True


# Creating


def test_creates_a_key_from_the_form(browser: Client) -> None:
    (key, key_in_curl) = keys_on_page(browser.post(f"{LIST_URL}add/", FORM))

    principal = authenticate_api_key(key, now=timezone.now())
    assert (key == key_in_curl, principal.name, sorted(principal.scopes)) == (True, "shop", ["emails:read", "emails:send"])
    assert (principal.allowed_senders, principal.expires_at) == (("*@example.com", "ada@b.example"), None)


def test_only_the_uncached_creation_response_contains_the_key(browser: Client) -> None:
    response = browser.post(f"{LIST_URL}add/", FORM)
    (key, _) = keys_on_page(response)

    others = [browser.get(path) for path in (LIST_URL, f"{key_page_url(key)}change/", f"{key_page_url(key)}history/", "/admin/")]
    headers = [str(dict(each.items())) + str(each.cookies) + str(dict(browser.session)) for each in (response, *others)]

    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert [each.status_code for each in others] == [200] * 4
    assert key[11:54] not in "".join([*headers, *(each.content.decode() for each in others)])


def test_the_detail_page_shows_no_hash(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    row = ApiKey.objects.get()

    page = browser.get(f"{key_page_url(key)}change/").content.decode()

    assert ("shop" in page, row.prefix in page, row.secret_hash in page) == (True, True, False)


def test_the_curl_command_uses_this_server_and_an_allowed_sender(browser: Client) -> None:
    page = html.unescape(browser.post(f"{LIST_URL}add/", FORM, headers={"host": "localhost:8000"}).content.decode())

    assert "curl -X POST http://localhost:8000/api/emails" in page
    assert '"from": "hello@example.com"' in page


def test_a_key_is_valid_until_the_end_of_its_last_day(browser: Client) -> None:
    today = timezone.localdate()

    (key, _) = keys_on_page(browser.post(f"{LIST_URL}add/", FORM | {"expires_at": today.isoformat()}))

    assert ApiKey.objects.get(prefix=key[3:11]).expires_at == timezone.localtime().replace(
        hour=0, minute=0, second=0, microsecond=0
    ) + timedelta(days=1)
    assert is_valid(key)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("allowed_senders", "example.com", "enter an address"),
        ("expires_at", "2020-01-01", "The expiration must be in the future"),
        ("expires_at", "9999-12-31", "The expiration must be within 36500 days"),
        ("scopes", [], "This field is required"),
        ("scopes", ["emails:sent"], "emails:sent is not one of the available choices"),
        ("name", "", "This field is required"),
        ("name", "x" * 101, "at most 100 characters"),
    ],
)
def test_the_form_shows_its_errors(browser: Client, field: str, value: object, reason: str) -> None:
    response = browser.post(f"{LIST_URL}add/", FORM | {field: value})

    assert re.search(reason, html.unescape(response.content.decode()))
    assert not ApiKey.objects.exists()


def test_creating_a_key_requires_the_permission(teammate: User) -> None:
    grant(teammate, "view_apikey", "change_apikey", "add_email", "view_email")
    browser = Client()
    browser.force_login(teammate)

    responses = [browser.get(f"{LIST_URL}add/"), browser.post(f"{LIST_URL}add/", FORM)]

    assert [response.status_code for response in responses] == [403, 403]
    assert not ApiKey.objects.exists()


def test_users_can_only_grant_scopes_that_they_have(teammate_client: Client) -> None:
    form = teammate_client.get(f"{LIST_URL}add/").content.decode()
    rejected = teammate_client.post(f"{LIST_URL}add/", FORM)
    created = keys_on_page(teammate_client.post(f"{LIST_URL}add/", FORM | {"scopes": ["emails:send"]}))

    assert re.findall(r'name="scopes" value="([^"]+)"', form) == ["emails:send"]
    assert (keys_on_page(rejected), "emails:read is not one of the available choices" in rejected.content.decode()) == ([], True)
    assert authenticate_api_key(created[0], now=timezone.now()).scopes == {"emails:send"}


def test_rejects_changing_and_deleting_a_key(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:read"])

    responses = [browser.post(f"{key_page_url(key)}change/", FORM), browser.post(f"{key_page_url(key)}delete/", {"post": "yes"})]

    assert [response.status_code for response in responses] == [403, 403]
    assert ApiKey.objects.get().scopes == ["emails:read"]


# List


def test_the_list_shows_the_state_of_each_key(browser: Client) -> None:
    now = timezone.now()
    for name, days in (("active", 30), ("expiring soon", 3), ("expired", -1)):
        create_key(name, scopes=["emails:send"], expires_at=now + timedelta(days=days))
    create_key("revoked", scopes=["emails:send"])
    ApiKey.objects.filter(name="revoked").update(revoked_at=now)

    page = browser.get(LIST_URL).content.decode()

    rows = re.findall(r'field-name"><a[^>]*>([^<]+)<.*?class="status key-[a-z-]+">([^<]+)<', page)
    assert rows == [(name, name) for name in ("active", "expired", "expiring soon", "revoked")]


@pytest.mark.parametrize("term", ["shop", "{prefix}", "mr_{prefix}"])
def test_finds_a_key_by_name_and_by_prefix(browser: Client, term: str) -> None:
    key = create_key("shop", scopes=["emails:send"])
    create_key("other", scopes=["emails:send"])

    page = browser.get(LIST_URL, {"q": term.format(prefix=key[3:11])})

    assert [row.prefix for row in page.context["cl"].result_list] == [key[3:11]]


# Revoking


def test_revokes_a_key_after_confirmation(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])

    confirmation = browser.get(f"{key_page_url(key)}revoke/").content.decode()
    valid_before = is_valid(key)
    browser.post(f"{key_page_url(key)}revoke/")

    assert ("cannot be undone" in confirmation, valid_before, is_valid(key)) == (True, True, False)
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Revoked."]


def test_revokes_the_selected_keys_after_confirmation(browser: Client) -> None:
    keys = [create_key(name, scopes=["emails:send"]) for name in ("one", "two", "three")]
    chosen = {"action": "revoke", "_selected_action": [ApiKey.objects.get(name=name).pk for name in ("one", "two")]}

    confirmation = browser.post(LIST_URL, chosen)
    valid_before = [is_valid(key) for key in keys]
    page = browser.post(LIST_URL, chosen | {"confirmed": "yes"}, follow=True).content.decode()

    assert re.findall(r'name="_selected_action" value="(\d+)"', confirmation.content.decode())
    assert (valid_before, [is_valid(key) for key in keys]) == ([True] * 3, [False, False, True])
    assert "Revoked 2 API keys." in page
    assert sorted(LogEntry.objects.values_list("object_repr", flat=True)) == ["one", "two"]


def test_a_revoked_key_cannot_be_changed_again(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    browser.post(f"{key_page_url(key)}revoke/")
    revoked_at_first = ApiKey.objects.get().revoked_at

    browser.post(f"{key_page_url(key)}revoke/")
    page = browser.get(f"{key_page_url(key)}change/").content.decode()

    assert ApiKey.objects.get().revoked_at == revoked_at_first
    assert LogEntry.objects.count() == 1
    assert (f"{key_page_url(key)}revoke/" in page, f"{key_page_url(key)}rotate/" in page) == (False, False)


def test_revoking_requires_the_permission(teammate_client: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    chosen = {"action": "revoke", "confirmed": "yes", "_selected_action": [ApiKey.objects.get().pk]}

    responses = [teammate_client.get(f"{key_page_url(key)}revoke/"), teammate_client.post(f"{key_page_url(key)}revoke/")]
    teammate_client.post(LIST_URL, chosen)

    assert [response.status_code for response in responses] == [403, 403]
    assert is_valid(key)


# Rotating


def rotate(browser: Client, key: str, overlap: str = "24h") -> HttpResponse:
    """Submit the rotation form of a key."""
    return browser.post(f"{key_page_url(key)}rotate/", {"overlap": overlap})  # type: ignore[return-value]  # test client response


def test_rotates_a_key_after_confirmation_and_shows_the_new_one(browser: Client) -> None:
    old = create_key("shop", scopes=["emails:send"])

    confirmation = browser.get(f"{key_page_url(old)}rotate/").content.decode()
    response = rotate(browser, old)

    new = keys_on_page(response)[0]
    assert ("is shown once" in confirmation, "no-store" in response["Cache-Control"]) == (True, True)
    assert (new[:11], new == old, is_valid(old), is_valid(new)) == (old[:11], False, True, True)


def test_without_overlap_the_old_secret_is_revoked_immediately(browser: Client) -> None:
    old = create_key("shop", scopes=["emails:send"])

    new = keys_on_page(rotate(browser, old, "0"))[0]

    assert (is_valid(old), is_valid(new)) == (False, True)


def test_rejects_an_unknown_overlap(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])

    response = rotate(browser, key, "9999d")

    assert (keys_on_page(response), "9999d is not one of the available choices" in response.content.decode()) == ([], True)
    assert ApiKey.objects.get().previous_secret_expires_at is None


def test_does_not_rotate_a_revoked_key(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    browser.post(f"{key_page_url(key)}revoke/")

    response = rotate(browser, key)

    assert (response.status_code, response["Location"]) == (302, f"{key_page_url(key)}change/")
    assert ApiKey.objects.get().previous_secret_hash == ""


def test_users_can_only_rotate_keys_with_scopes_that_they_have(teammate_client: Client) -> None:
    allowed, beyond = (create_key(str(scopes), scopes=scopes) for scopes in (["emails:send"], ["emails:send", "emails:read"]))

    responses = [
        rotate(teammate_client, allowed),
        rotate(teammate_client, beyond),
        teammate_client.get(f"{key_page_url(beyond)}rotate/"),
    ]

    assert [response.status_code for response in responses] == [200, 403, 403]
    assert f"{key_page_url(beyond)}rotate/" not in teammate_client.get(f"{key_page_url(beyond)}change/").content.decode()


def test_rotating_requires_the_permission_to_create_keys(teammate: User) -> None:
    grant(teammate, "view_apikey", "change_apikey", "add_email")
    browser = Client()
    browser.force_login(teammate)
    key = create_key("shop", scopes=["emails:send"])

    response = rotate(browser, key)

    assert (response.status_code, ApiKey.objects.get().previous_secret_expires_at) == (403, None)


def test_returns_404_for_an_unknown_key(browser: Client) -> None:
    assert [browser.get(f"{LIST_URL}{pk}/rotate/").status_code for pk in ("4711", "nonsense")] == [404, 404]


def test_logs_changes_with_their_user_and_without_secrets(browser: Client) -> None:
    key = keys_on_page(browser.post(f"{LIST_URL}add/", FORM))[0]
    new = keys_on_page(rotate(browser, key))[0]
    browser.post(f"{key_page_url(key)}revoke/")

    entries = LogEntry.objects.order_by("pk")

    stored = str(list(entries.values()))
    assert [entry.get_change_message().split(".")[0] for entry in entries] == ["Added", "Rotated", "Revoked"]
    assert (key[11:54] in stored, new[11:54] in stored, {entry.user.username for entry in entries}) == (False, False, {"owner"})
