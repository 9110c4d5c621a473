"""API keys."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from project.api_keys.curl_example import curl_command, sample_from_address
from project.api_keys.keys import KeyNotActive, authenticate_api_key, create_key, revoke_key, rotate_key, validate_expiry
from project.api_keys.models import ApiKey
from project.auth.principal import NotAuthenticated
from project.auth.scopes import InvalidScope
from project.auth.sender_patterns import matches_pattern

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


def test_a_key_is_its_holders_proof() -> None:
    key = create_key("shop", scopes=["emails:send", "emails:read", "emails:send"])

    who = authenticate_api_key(key, now=NOW)

    assert (who.kind, who.name, sorted(who.scopes)) == ("key", "shop", ["emails:read", "emails:send"])
    assert (who.owner_id, who.can_view_all) == (f"key:{ApiKey.objects.get().pk}", False)


def test_a_key_has_the_form_that_scanners_know() -> None:
    assert re.fullmatch(r"mr_[A-Za-z0-9]{57}", create_key("shop", scopes=["emails:send"]))


def test_the_secret_is_nowhere_in_the_database() -> None:
    key = create_key("shop", scopes=["emails:send"])

    assert key[11:54] not in str(ApiKey.objects.values())


def test_no_two_keys_are_alike() -> None:
    assert len({create_key("shop", scopes=["emails:send"]) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "x", lambda k: k.swapcase(), lambda k: k[:20] + "\x00" + k[21:]]
)
def test_what_is_no_key_opens_nothing(change) -> None:  # type: ignore[no-untyped-def]  # a table of functions
    key = create_key("shop", scopes=["emails:send"])

    with pytest.raises(NotAuthenticated, match="not an API key"):
        authenticate_api_key(change(key), now=NOW)


def test_a_key_of_another_installation_opens_nothing() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.all().delete()

    with pytest.raises(NotAuthenticated, match="not valid"):
        authenticate_api_key(key, now=NOW)


def test_a_public_part_with_anothers_secret_opens_nothing() -> None:
    one, other = (create_key(name, scopes=["emails:send"]) for name in ("one", "other"))
    ApiKey.objects.filter(prefix=other[3:11]).delete()
    ApiKey.objects.filter(prefix=one[3:11]).update(prefix=other[3:11])

    with pytest.raises(NotAuthenticated, match="not valid"):
        authenticate_api_key(other, now=NOW)


def test_a_revoked_key_opens_nothing() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(revoked_at=NOW)

    with pytest.raises(NotAuthenticated, match="revoked"):
        authenticate_api_key(key, now=NOW)


def test_its_use_is_noted_once_a_minute() -> None:
    key = create_key("shop", scopes=["emails:send"])

    noted = []
    for seconds in (0, 59, 61):
        authenticate_api_key(key, now=NOW + timedelta(seconds=seconds))
        noted.append(ApiKey.objects.get().last_used_at)

    assert noted == [NOW, NOW, NOW + timedelta(seconds=61)]


def test_a_key_for_a_scope_that_does_not_exist_is_not_made() -> None:
    with pytest.raises(InvalidScope, match="no scope emails:sent"):
        create_key("shop", scopes=["emails:sent"])

    assert not ApiKey.objects.exists()


def test_the_command_prints_the_key_and_nothing_else() -> None:
    out = StringIO()

    call_command("create_api_key", "shop", "--scope", "emails:send", "--scope", "emails:read", stdout=out)

    assert authenticate_api_key(out.getvalue().removesuffix("\n"), now=NOW).scopes == {"emails:read", "emails:send"}


def test_the_command_names_a_scope_that_does_not_exist() -> None:
    with pytest.raises(CommandError, match="no scope nonsense"):
        call_command("create_api_key", "shop", "--scope", "nonsense")


def test_the_command_makes_a_key_that_ends_and_has_its_senders() -> None:
    out = StringIO()

    call_command(
        *("create_api_key", "shop", "--scope=emails:send", "--sender", "*@Example.com", "--sender", "ada@b.example"),
        *("--expires", "90d"),
        stdout=out,
    )

    who = authenticate_api_key(out.getvalue().strip(), now=datetime.now(UTC))
    assert who.allowed_senders == ("*@example.com", "ada@b.example")
    assert who.expires_at is not None
    assert timedelta(days=89) < who.expires_at - datetime.now(UTC) <= timedelta(days=90)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--expires", "90", "such as 5m"),
        ("--expires", "soon", "such as 5m"),
        ("--expires", "", "such as 5m"),
        ("--expires", "0d", "later than now"),
        ("--expires", "36501d", "longer than 36500 days"),
        ("--sender", "example.com", "a sender is an address"),
    ],
)
def test_the_command_says_what_it_cannot_read(option: str, value: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("create_api_key", "shop", "--scope", "emails:send", option, value)

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("", "name: .*blank"), (" \t", "name: .*blank"), ("x" * 101, "name: .*at most 100 characters")]
)
def test_the_command_makes_no_key_with_a_name_that_the_admin_refuses(name: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("create_api_key", name, "--scope", "emails:send")

    assert not ApiKey.objects.exists()


# Expiry


@pytest.mark.parametrize("end", [NOW, NOW - timedelta(seconds=1), NOW + timedelta(days=36_501), datetime.max.replace(tzinfo=UTC)])
def test_a_new_key_ends_neither_before_now_nor_in_ages(end: datetime) -> None:
    with pytest.raises(ValueError, match="A key expires"):
        validate_expiry(end, now=NOW)


def test_a_key_is_good_until_it_expires() -> None:
    key = create_key("shop", scopes=["emails:send"], expires_at=NOW)

    assert authenticate_api_key(key, now=NOW - timedelta(seconds=1)).expires_at == NOW
    with pytest.raises(NotAuthenticated, match="expired"):
        authenticate_api_key(key, now=NOW)


@pytest.mark.parametrize(
    ("expires_in", "revoked", "state"),
    [
        (None, False, "active"),
        (timedelta(days=8), False, "active"),
        (timedelta(days=7), False, "expiring soon"),
        (timedelta(seconds=1), False, "expiring soon"),
        (timedelta(0), False, "expired"),
        (timedelta(days=8), True, "revoked"),
        (timedelta(days=-1), True, "revoked"),
    ],
)
def test_a_key_tells_its_state(expires_in: timedelta | None, revoked: bool, state: str) -> None:
    key = ApiKey(expires_at=None if expires_in is None else NOW + expires_in, revoked_at=NOW if revoked else None)

    assert key.state(NOW) == state


# Rotation


def test_both_secrets_of_a_rotated_key_are_good_until_the_overlap_ends() -> None:
    old = create_key("shop", scopes=["emails:send"])
    new = rotate_key(old[:11], overlap=timedelta(hours=24), now=NOW)
    last, over = NOW + timedelta(hours=24, seconds=-1), NOW + timedelta(hours=24)

    assert (new[:11], new == old) == (old[:11], False)
    assert authenticate_api_key(old, now=last).owner_id == authenticate_api_key(new, now=last).owner_id
    with pytest.raises(NotAuthenticated, match="replaced"):
        authenticate_api_key(old, now=over)
    assert authenticate_api_key(new, now=over).expires_at is None


def test_an_old_secret_does_not_outlive_its_key() -> None:
    old = create_key("shop", scopes=["emails:send"], expires_at=NOW + timedelta(hours=1))
    rotate_key(old[:11], overlap=timedelta(hours=24), now=NOW)

    assert authenticate_api_key(old, now=NOW).expires_at == NOW + timedelta(hours=1)


def test_a_key_that_is_rotated_again_has_no_third_secret() -> None:
    keys = [create_key("shop", scopes=["emails:send"])]
    for _ in range(2):
        keys.append(rotate_key(keys[0][:11], overlap=timedelta(hours=1), now=NOW))

    with pytest.raises(NotAuthenticated, match="not valid"):
        authenticate_api_key(keys[0], now=NOW)
    assert [authenticate_api_key(key, now=NOW).name for key in keys[1:]] == ["shop", "shop"]


def test_a_revoked_key_ends_with_both_of_its_secrets() -> None:
    old = create_key("shop", scopes=["emails:send"])
    new = rotate_key(old[:11], overlap=timedelta(hours=1), now=NOW)

    told = [revoke_key(old[3:11], now=NOW) for _ in range(2)]

    assert told == [True, False]
    for key in (old, new):
        with pytest.raises(NotAuthenticated, match="revoked"):
            authenticate_api_key(key, now=NOW)


@pytest.mark.parametrize("change", [{"revoked_at": NOW}, {"expires_at": NOW}, {"prefix": "another0"}])
def test_only_an_active_key_is_rotated(change: dict[str, Any]) -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(**change)

    with pytest.raises(KeyNotActive):
        rotate_key(key[:11], overlap=timedelta(hours=1), now=NOW)


def test_the_rotating_command_prints_the_key_and_nothing_else() -> None:
    old, out = create_key("shop", scopes=["emails:send"]), StringIO()

    call_command("rotate_api_key", old[3:11], "--overlap", "0s", stdout=out)

    assert authenticate_api_key(out.getvalue().removesuffix("\n"), now=NOW).name == "shop"
    with pytest.raises(NotAuthenticated, match="replaced"):
        authenticate_api_key(old, now=datetime.now(UTC))


def test_the_rotating_command_does_not_repeat_a_key_it_was_given() -> None:
    key = create_key("shop", scopes=["emails:send"])

    with pytest.raises(CommandError, match="no active API key") as refused:
        call_command("rotate_api_key", key)

    assert key[11:54] not in str(refused.value)


# A line to try it


def test_the_curl_line_is_one_that_a_shell_understands() -> None:
    line = curl_command(
        "https://mail.example", "mr_key", scopes=["emails:send"], allowed_senders=["o'hara@example.com"], to="ada@example.com"
    )

    words = shlex.split(line.replace("\\\n", ""))

    assert words[:4] == ["curl", "-X", "POST", "https://mail.example/api/emails"]
    assert words[5] == "Authorization: Bearer mr_key"
    assert json.loads(words[-1])["from"] == "o'hara@example.com"


@pytest.mark.parametrize("patterns", [["*@example.com"], ["*@*.example.com"], ["ada@example.com", "*@b.example"]])
def test_the_sender_of_the_curl_line_is_one_that_is_allowed(patterns: list[str]) -> None:
    assert matches_pattern(patterns[0], sample_from_address(patterns))


def test_a_key_that_may_not_send_is_tried_without_sending() -> None:
    line = curl_command("http://localhost", "mr_key", scopes=["emails:read"], allowed_senders=[], to="ada@example.com")

    assert shlex.split(line)[1] == "http://localhost/api/me"
