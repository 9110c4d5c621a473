"""API keys: format, authentication, expiry, rotation, revocation, the commands and the curl command."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from project.api_keys.curl_example import curl_command, sample_from_address
from project.api_keys.keys import (
    KeyNotActive,
    authenticate_api_key,
    create_key,
    record_use,
    revoke_key,
    rotate_key,
    validate_expiry,
)
from project.api_keys.models import ApiKey
from project.auth.principal import NotAuthenticated
from project.auth.scopes import InvalidScope
from project.auth.sender_patterns import matches_pattern

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


def test_authenticates_a_key() -> None:
    key = create_key("shop", scopes=["emails:send", "emails:read", "emails:send"])

    principal = authenticate_api_key(key, now=NOW)

    assert (principal.kind, principal.name, sorted(principal.scopes)) == ("key", "shop", ["emails:read", "emails:send"])
    assert (principal.owner_id, principal.can_view_all) == (f"key:{ApiKey.objects.get().pk}", False)


def test_a_key_has_a_recognizable_format() -> None:
    assert re.fullmatch(r"mr_[A-Za-z0-9]{57}", create_key("shop", scopes=["emails:send"]))


def test_stores_no_secret_in_plaintext() -> None:
    key = create_key("shop", scopes=["emails:send"])

    assert key[11:54] not in str(ApiKey.objects.values())


def test_keys_are_unique() -> None:
    assert len({create_key("shop", scopes=["emails:send"]) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "x", lambda k: k.swapcase(), lambda k: k[:20] + "\x00" + k[21:]]
)
def test_rejects_a_malformed_key(change) -> None:  # type: ignore[no-untyped-def]  # `change` is a lambda
    key = create_key("shop", scopes=["emails:send"])

    with pytest.raises(NotAuthenticated, match="Malformed API key"):
        authenticate_api_key(change(key), now=NOW)


def test_rejects_a_key_of_another_installation() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.all().delete()

    with pytest.raises(NotAuthenticated, match="invalid"):
        authenticate_api_key(key, now=NOW)


def test_rejects_a_prefix_with_the_secret_of_another_key() -> None:
    one, other = (create_key(name, scopes=["emails:send"]) for name in ("one", "other"))
    ApiKey.objects.filter(prefix=other[3:11]).delete()
    ApiKey.objects.filter(prefix=one[3:11]).update(prefix=other[3:11])

    with pytest.raises(NotAuthenticated, match="invalid"):
        authenticate_api_key(other, now=NOW)


def test_rejects_a_revoked_key() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(revoked_at=NOW)

    with pytest.raises(NotAuthenticated, match="revoked"):
        authenticate_api_key(key, now=NOW)


def test_records_the_last_use_at_most_once_a_minute() -> None:
    key = create_key("shop", scopes=["emails:send"])

    last_used = []
    for seconds in (0, 59, 61):
        record_use(key, now=NOW + timedelta(seconds=seconds))
        last_used.append(ApiKey.objects.get().last_used_at)

    assert last_used == [NOW, NOW, NOW + timedelta(seconds=61)]


def test_rejects_an_unknown_scope() -> None:
    with pytest.raises(InvalidScope, match="Unknown scope: emails:sent"):
        create_key("shop", scopes=["emails:sent"])

    assert not ApiKey.objects.exists()


def test_create_api_key_prints_only_the_key() -> None:
    out = StringIO()

    call_command("create_api_key", "shop", "--scope", "emails:send", "--scope", "emails:read", stdout=out)

    assert authenticate_api_key(out.getvalue().removesuffix("\n"), now=NOW).scopes == {"emails:read", "emails:send"}


def test_create_api_key_names_an_unknown_scope() -> None:
    with pytest.raises(CommandError, match="Unknown scope: nonsense"):
        call_command("create_api_key", "shop", "--scope", "nonsense")


def test_create_api_key_sets_expiry_and_allowed_senders() -> None:
    out = StringIO()

    call_command(
        *("create_api_key", "shop", "--scope=emails:send", "--sender", "*@Example.com", "--sender", "ada@b.example"),
        *("--expires", "90d"),
        stdout=out,
    )

    principal = authenticate_api_key(out.getvalue().strip(), now=datetime.now(UTC))
    assert principal.allowed_senders == ("*@example.com", "ada@b.example")
    assert principal.expires_at is not None
    assert timedelta(days=89) < principal.expires_at - datetime.now(UTC) <= timedelta(days=90)


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--expires", "90", "such as 5m"),
        ("--expires", "soon", "such as 5m"),
        ("--expires", "", "such as 5m"),
        ("--expires", "0d", "in the future"),
        ("--expires", "36501d", "longer than 36500 days"),
        ("--sender", "example.com", "enter an address"),
    ],
)
def test_create_api_key_names_an_invalid_option(option: str, value: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("create_api_key", "shop", "--scope", "emails:send", option, value)

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "name: .*blank"),
        (" \t", "name: .*blank"),
        ("x" * 101, "name: .*at most 100 characters"),
        ("shop\u202e", "name: .*U\\+202E"),
    ],
)
def test_create_api_key_rejects_a_name_that_the_admin_would_reject(name: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("create_api_key", name, "--scope", "emails:send")

    assert not ApiKey.objects.exists()


# Expiry


@pytest.mark.parametrize(
    "expires_at", [NOW, NOW - timedelta(seconds=1), NOW + timedelta(days=36_501), datetime.max.replace(tzinfo=UTC)]
)
def test_rejects_an_expiry_in_the_past_or_too_far_ahead(expires_at: datetime) -> None:
    with pytest.raises(ValueError, match="The expiration must be"):
        validate_expiry(expires_at, now=NOW)


def test_a_key_is_valid_until_it_expires() -> None:
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
def test_returns_the_state_of_a_key(expires_in: timedelta | None, revoked: bool, state: str) -> None:
    key = ApiKey(expires_at=None if expires_in is None else NOW + expires_in, revoked_at=NOW if revoked else None)

    assert key.state(NOW) == state


# Rotation


def test_both_secrets_are_valid_until_the_overlap_ends() -> None:
    old = create_key("shop", scopes=["emails:send"])
    new = rotate_key(old[:11], overlap=timedelta(hours=24), now=NOW)
    before_end, at_end = NOW + timedelta(hours=24, seconds=-1), NOW + timedelta(hours=24)

    assert (new[:11], new == old) == (old[:11], False)
    assert authenticate_api_key(old, now=before_end).owner_id == authenticate_api_key(new, now=before_end).owner_id
    with pytest.raises(NotAuthenticated, match="rotated"):
        authenticate_api_key(old, now=at_end)
    assert authenticate_api_key(new, now=at_end).expires_at is None


def test_an_old_secret_expires_with_its_key() -> None:
    old = create_key("shop", scopes=["emails:send"], expires_at=NOW + timedelta(hours=1))
    rotate_key(old[:11], overlap=timedelta(hours=24), now=NOW)

    assert authenticate_api_key(old, now=NOW).expires_at == NOW + timedelta(hours=1)


def test_a_second_rotation_revokes_the_oldest_secret() -> None:
    keys = [create_key("shop", scopes=["emails:send"])]
    for _ in range(2):
        keys.append(rotate_key(keys[0][:11], overlap=timedelta(hours=1), now=NOW))

    with pytest.raises(NotAuthenticated, match="invalid"):
        authenticate_api_key(keys[0], now=NOW)
    assert [authenticate_api_key(key, now=NOW).name for key in keys[1:]] == ["shop", "shop"]


def test_revoking_a_key_revokes_both_secrets() -> None:
    old = create_key("shop", scopes=["emails:send"])
    new = rotate_key(old[:11], overlap=timedelta(hours=1), now=NOW)

    results = [revoke_key(old[3:11], now=NOW) for _ in range(2)]

    assert results == [True, False]
    for key in (old, new):
        with pytest.raises(NotAuthenticated, match="revoked"):
            authenticate_api_key(key, now=NOW)


@pytest.mark.parametrize("change", [{"revoked_at": NOW}, {"expires_at": NOW}, {"prefix": "another0"}])
def test_rejects_rotating_an_inactive_key(change: dict[str, Any]) -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(**change)

    with pytest.raises(KeyNotActive):
        rotate_key(key[:11], overlap=timedelta(hours=1), now=NOW)


def test_rotate_api_key_prints_only_the_key() -> None:
    old, out = create_key("shop", scopes=["emails:send"]), StringIO()

    call_command("rotate_api_key", old[3:11], "--overlap", "0s", stdout=out)

    assert authenticate_api_key(out.getvalue().removesuffix("\n"), now=NOW).name == "shop"
    with pytest.raises(NotAuthenticated, match="rotated"):
        authenticate_api_key(old, now=datetime.now(UTC))


def test_rotate_api_key_does_not_repeat_a_whole_key_in_its_error() -> None:
    key = create_key("shop", scopes=["emails:send"])

    with pytest.raises(CommandError, match="No active API key") as error:
        call_command("rotate_api_key", key)

    assert key[11:54] not in str(error.value)


# curl command


def test_the_curl_command_is_quoted_for_the_shell() -> None:
    command = curl_command(
        "https://mail.example", "mr_key", scopes=["emails:send"], allowed_senders=["o'hara@example.com"], to="ada@example.com"
    )

    words = shlex.split(command.replace("\\\n", ""))

    assert words[:4] == ["curl", "-X", "POST", "https://mail.example/api/emails"]
    assert words[5] == "Authorization: Bearer mr_key"
    assert json.loads(words[-1])["from"] == "o'hara@example.com"


@pytest.mark.parametrize("patterns", [["*@example.com"], ["*@*.example.com"], ["ada@example.com", "*@b.example"]])
def test_the_curl_command_uses_an_allowed_sender(patterns: list[str]) -> None:
    assert matches_pattern(patterns[0], sample_from_address(patterns))


def test_the_curl_command_of_a_key_without_the_send_scope_calls_me() -> None:
    command = curl_command("http://localhost", "mr_key", scopes=["emails:read"], allowed_senders=[], to="ada@example.com")

    assert shlex.split(command)[1] == "http://localhost/api/me"
