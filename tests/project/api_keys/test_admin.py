"""API keys in the back office: made and shown once, rotated, revoked, and by whom."""

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

pytestmark = pytest.mark.usefixtures("lent")

LIST = "/admin/api_keys/apikey/"
FORM = {
    "name": "shop",
    "scopes": ["emails:send", "emails:read"],
    "allowed_senders": "*@Example.com\r\n\r\nada@b.example",
    "expires_at": "",
}


@pytest.fixture
def teammates(teammate: User) -> Client:
    """Where the teammate is signed in, who may make keys, and send."""
    allow(teammate, "add_apikey", "view_apikey", "add_email")
    browser = Client()
    browser.force_login(teammate)
    return browser


def allow(user: User, *codenames: str) -> None:
    """Give somebody permissions."""
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


def keys_in(answer: Any) -> list[str]:
    """The keys that a page shows."""
    return re.findall(r"mr_[A-Za-z0-9]{57}", html.unescape(answer.content.decode()))


def page_of(key: str) -> str:
    """The page of a key."""
    return f"{LIST}{ApiKey.objects.get(prefix=key[3:11]).pk}/"


def is_good(key: str) -> bool:
    """Whether it opens anything."""
    try:
        authenticate_api_key(key, now=timezone.now())
    except NotAuthenticated:
        return False
    return True


# Making one


def test_a_key_is_made_with_what_the_form_says(browser: Client) -> None:
    (key, again) = keys_in(browser.post(f"{LIST}add/", FORM))

    who = authenticate_api_key(key, now=timezone.now())
    assert (key == again, who.name, sorted(who.scopes)) == (True, "shop", ["emails:read", "emails:send"])
    assert (who.allowed_senders, who.expires_at) == (("*@example.com", "ada@b.example"), None)


def test_a_key_is_in_no_other_answer_and_kept_by_no_cache(browser: Client) -> None:
    answer = browser.post(f"{LIST}add/", FORM)
    (key, _) = keys_in(answer)

    others = [browser.get(path) for path in (LIST, f"{page_of(key)}change/", f"{page_of(key)}history/", "/admin/")]
    told = [str(dict(each.items())) + str(each.cookies) + str(dict(browser.session)) for each in (answer, *others)]

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert [each.status_code for each in others] == [200] * 4
    assert key[11:54] not in "".join([*told, *(each.content.decode() for each in others)])


def test_no_page_shows_a_hash(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    row = ApiKey.objects.get()

    shown = browser.get(f"{page_of(key)}change/").content.decode()

    assert ("shop" in shown, row.prefix in shown, row.secret_hash in shown) == (True, True, False)


def test_the_curl_line_is_for_this_server_and_an_allowed_sender(browser: Client) -> None:
    page = html.unescape(browser.post(f"{LIST}add/", FORM, headers={"host": "localhost:8000"}).content.decode())

    assert "curl -X POST http://localhost:8000/api/emails" in page
    assert '"from": "hello@example.com"' in page


def test_a_key_is_good_to_the_end_of_its_last_day(browser: Client) -> None:
    today = timezone.localdate()

    (key, _) = keys_in(browser.post(f"{LIST}add/", FORM | {"expires_at": today.isoformat()}))

    assert ApiKey.objects.get(prefix=key[3:11]).expires_at == timezone.localtime().replace(
        hour=0, minute=0, second=0, microsecond=0
    ) + timedelta(days=1)
    assert is_good(key)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("allowed_senders", "example.com", "a sender is an address"),
        ("expires_at", "2020-01-01", "A key expires later than now"),
        ("expires_at", "9999-12-31", "A key expires within 36500 days, or never"),
        ("scopes", [], "This field is required"),
        ("scopes", ["emails:sent"], "emails:sent is not one of the available choices"),
        ("name", "", "This field is required"),
        ("name", "x" * 101, "at most 100 characters"),
    ],
)
def test_the_form_says_what_is_wrong(browser: Client, field: str, value: object, reason: str) -> None:
    answer = browser.post(f"{LIST}add/", FORM | {field: value})

    assert re.search(reason, html.unescape(answer.content.decode()))
    assert not ApiKey.objects.exists()


def test_whoever_may_not_make_keys_makes_none(teammate: User) -> None:
    allow(teammate, "view_apikey", "change_apikey", "add_email", "view_email")
    browser = Client()
    browser.force_login(teammate)

    answers = [browser.get(f"{LIST}add/"), browser.post(f"{LIST}add/", FORM)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert not ApiKey.objects.exists()


def test_nobody_gives_a_key_what_they_may_not_do(teammates: Client) -> None:
    form = teammates.get(f"{LIST}add/").content.decode()
    refused = teammates.post(f"{LIST}add/", FORM)
    made = keys_in(teammates.post(f"{LIST}add/", FORM | {"scopes": ["emails:send"]}))

    assert re.findall(r'name="scopes" value="([^"]+)"', form) == ["emails:send"]
    assert (keys_in(refused), "emails:read is not one of the available choices" in refused.content.decode()) == ([], True)
    assert authenticate_api_key(made[0], now=timezone.now()).scopes == {"emails:send"}


def test_a_key_is_neither_changed_nor_deleted(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:read"])

    answers = [browser.post(f"{page_of(key)}change/", FORM), browser.post(f"{page_of(key)}delete/", {"post": "yes"})]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert ApiKey.objects.get().scopes == ["emails:read"]


# Looking at them


def test_the_list_tells_the_state_of_each(browser: Client) -> None:
    now = timezone.now()
    for name, days in (("active", 30), ("expiring soon", 3), ("expired", -1)):
        create_key(name, scopes=["emails:send"], expires_at=now + timedelta(days=days))
    create_key("revoked", scopes=["emails:send"])
    ApiKey.objects.filter(name="revoked").update(revoked_at=now)

    page = browser.get(LIST).content.decode()

    rows = re.findall(r'field-name"><a[^>]*>([^<]+)<.*?class="status key-[a-z-]+">([^<]+)<', page)
    assert rows == [(name, name) for name in ("active", "expired", "expiring soon", "revoked")]


@pytest.mark.parametrize("term", ["shop", "{prefix}", "mr_{prefix}"])
def test_a_key_is_found_by_its_name_and_by_how_it_begins(browser: Client, term: str) -> None:
    key = create_key("shop", scopes=["emails:send"])
    create_key("other", scopes=["emails:send"])

    page = browser.get(LIST, {"q": term.format(prefix=key[3:11])})

    assert [row.prefix for row in page.context["cl"].result_list] == [key[3:11]]


# Revoking


def test_the_button_asks_and_then_revokes(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])

    asked = browser.get(f"{page_of(key)}revoke/").content.decode()
    before = is_good(key)
    browser.post(f"{page_of(key)}revoke/")

    assert ("cannot be undone" in asked, before, is_good(key)) == (True, True, False)
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Revoked."]


def test_the_list_asks_and_then_revokes_those_that_were_chosen(browser: Client) -> None:
    keys = [create_key(name, scopes=["emails:send"]) for name in ("one", "two", "three")]
    chosen = {"action": "revoke", "_selected_action": [ApiKey.objects.get(name=name).pk for name in ("one", "two")]}

    asked = browser.post(LIST, chosen)
    before = [is_good(key) for key in keys]
    told = browser.post(LIST, chosen | {"confirmed": "yes"}, follow=True).content.decode()

    assert re.findall(r'name="_selected_action" value="(\d+)"', asked.content.decode())
    assert (before, [is_good(key) for key in keys]) == ([True] * 3, [False, False, True])
    assert "Revoked 2 API keys." in told
    assert sorted(LogEntry.objects.values_list("object_repr", flat=True)) == ["one", "two"]


def test_a_revoked_key_stays_as_it_ended(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    browser.post(f"{page_of(key)}revoke/")
    ended = ApiKey.objects.get().revoked_at

    browser.post(f"{page_of(key)}revoke/")
    page = browser.get(f"{page_of(key)}change/").content.decode()

    assert ApiKey.objects.get().revoked_at == ended
    assert LogEntry.objects.count() == 1
    assert (f"{page_of(key)}revoke/" in page, f"{page_of(key)}rotate/" in page) == (False, False)


def test_whoever_may_not_revoke_revokes_nothing(teammates: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    chosen = {"action": "revoke", "confirmed": "yes", "_selected_action": [ApiKey.objects.get().pk]}

    answers = [teammates.get(f"{page_of(key)}revoke/"), teammates.post(f"{page_of(key)}revoke/")]
    teammates.post(LIST, chosen)

    assert [answer.status_code for answer in answers] == [403, 403]
    assert is_good(key)


# Rotating


def rotate(browser: Client, key: str, overlap: str = "24h") -> HttpResponse:
    """Send the form of the button."""
    return browser.post(f"{page_of(key)}rotate/", {"overlap": overlap})  # type: ignore[return-value]  # the test client's own


def test_the_button_asks_and_then_shows_another_key(browser: Client) -> None:
    old = create_key("shop", scopes=["emails:send"])

    asked = browser.get(f"{page_of(old)}rotate/").content.decode()
    answer = rotate(browser, old)

    new = keys_in(answer)[0]
    assert ("is shown once" in asked, "no-store" in answer["Cache-Control"]) == (True, True)
    assert (new[:11], new == old, is_good(old), is_good(new)) == (old[:11], False, True, True)


def test_an_overlap_of_nothing_ends_the_old_secret_at_once(browser: Client) -> None:
    old = create_key("shop", scopes=["emails:send"])

    new = keys_in(rotate(browser, old, "0"))[0]

    assert (is_good(old), is_good(new)) == (False, True)


def test_an_overlap_that_there_is_not_rotates_nothing(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])

    answer = rotate(browser, key, "9999d")

    assert (keys_in(answer), "9999d is not one of the available choices" in answer.content.decode()) == ([], True)
    assert ApiKey.objects.get().previous_secret_expires_at is None


def test_a_revoked_key_is_not_rotated(browser: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    browser.post(f"{page_of(key)}revoke/")

    answer = rotate(browser, key)

    assert (answer.status_code, answer["Location"]) == (302, f"{page_of(key)}change/")
    assert ApiKey.objects.get().previous_secret_hash == ""


def test_nobody_rotates_a_key_that_may_do_more_than_they(teammates: Client) -> None:
    mine, more = (create_key(str(scopes), scopes=scopes) for scopes in (["emails:send"], ["emails:send", "emails:read"]))

    answers = [rotate(teammates, mine), rotate(teammates, more), teammates.get(f"{page_of(more)}rotate/")]

    assert [answer.status_code for answer in answers] == [200, 403, 403]
    assert f"{page_of(more)}rotate/" not in teammates.get(f"{page_of(more)}change/").content.decode()


def test_whoever_may_not_make_keys_rotates_none(teammate: User) -> None:
    allow(teammate, "view_apikey", "change_apikey", "add_email")
    browser = Client()
    browser.force_login(teammate)
    key = create_key("shop", scopes=["emails:send"])

    answer = rotate(browser, key)

    assert (answer.status_code, ApiKey.objects.get().previous_secret_expires_at) == (403, None)


def test_a_key_that_is_not_there_is_not_found(browser: Client) -> None:
    assert [browser.get(f"{LIST}{pk}/rotate/").status_code for pk in ("4711", "nonsense")] == [404, 404]


def test_who_did_what_is_kept_without_the_secrets(browser: Client) -> None:
    key = keys_in(browser.post(f"{LIST}add/", FORM))[0]
    new = keys_in(rotate(browser, key))[0]
    browser.post(f"{page_of(key)}revoke/")

    entries = LogEntry.objects.order_by("pk")

    kept = str(list(entries.values()))
    assert [entry.get_change_message().split(".")[0] for entry in entries] == ["Added", "Rotated", "Revoked"]
    assert (key[11:54] in kept, new[11:54] in kept, {entry.user.username for entry in entries}) == (False, False, {"owner"})
