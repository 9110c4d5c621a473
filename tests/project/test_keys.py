"""API keys."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from project.accounts.keys import create_key, principal_of_key
from project.accounts.models import ApiKey
from project.accounts.principal import NotAuthenticated
from project.accounts.scopes import InvalidScope

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


def test_a_key_is_its_holders_proof() -> None:
    key = create_key("shop", scopes=["emails:send", "emails:read", "emails:send"])

    who = principal_of_key(key, now=NOW)

    assert (who.kind, who.name, sorted(who.scopes)) == ("key", "shop", ["emails:read", "emails:send"])
    assert (who.caller_id, who.sees_all) == (f"key:{ApiKey.objects.get().pk}", False)


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
        principal_of_key(change(key), now=NOW)


def test_a_key_of_another_installation_opens_nothing() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.all().delete()

    with pytest.raises(NotAuthenticated, match="not valid"):
        principal_of_key(key, now=NOW)


def test_a_public_part_with_anothers_secret_opens_nothing() -> None:
    one, other = (create_key(name, scopes=["emails:send"]) for name in ("one", "other"))
    ApiKey.objects.filter(public=other[3:11]).delete()
    ApiKey.objects.filter(public=one[3:11]).update(public=other[3:11])

    with pytest.raises(NotAuthenticated, match="not valid"):
        principal_of_key(other, now=NOW)


def test_a_revoked_key_opens_nothing() -> None:
    key = create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(revoked_at=NOW)

    with pytest.raises(NotAuthenticated, match="revoked"):
        principal_of_key(key, now=NOW)


def test_its_use_is_noted_once_a_minute() -> None:
    key = create_key("shop", scopes=["emails:send"])

    noted = []
    for seconds in (0, 59, 61):
        principal_of_key(key, now=NOW + timedelta(seconds=seconds))
        noted.append(ApiKey.objects.get().last_used_at)

    assert noted == [NOW, NOW, NOW + timedelta(seconds=61)]


def test_a_key_for_a_scope_that_does_not_exist_is_not_made() -> None:
    with pytest.raises(InvalidScope, match="no scope emails:sent"):
        create_key("shop", scopes=["emails:sent"])

    assert not ApiKey.objects.exists()


def test_the_command_prints_the_key_and_nothing_else() -> None:
    out = StringIO()

    call_command("create_api_key", "shop", "--scope", "emails:send", "--scope", "emails:read", stdout=out)

    assert principal_of_key(out.getvalue().removesuffix("\n"), now=NOW).scopes == {"emails:read", "emails:send"}


def test_the_command_names_a_scope_that_does_not_exist() -> None:
    with pytest.raises(CommandError, match="no scope nonsense"):
        call_command("create_api_key", "shop", "--scope", "nonsense")


def test_the_admin_revokes_keys_and_shows_no_secret(admin_client: Client) -> None:
    key = create_key("shop", scopes=["emails:send"])
    row = ApiKey.objects.get()

    shown = admin_client.get(f"/admin/accounts/apikey/{row.pk}/change/").content.decode()
    admin_client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [row.pk]})

    assert ("shop" in shown, row.hashed in shown) == (True, False)
    with pytest.raises(NotAuthenticated):
        principal_of_key(key, now=NOW)


def test_the_admin_neither_makes_nor_changes_keys(admin_client: Client) -> None:
    assert admin_client.get("/admin/accounts/apikey/add/").status_code == 403
