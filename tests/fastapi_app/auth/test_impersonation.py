"""Attacks that impersonate a user: open redirects, session fixation, spoofed headers and timing attacks."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import crypto
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys import keys
from project.api_keys.keys import create_key, revoke_key
from project.api_keys.models import ApiKey
from project.auth import access_tokens
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import bearer

FOREIGN_URLS = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://testserver@evil.example/",
    "\thttps://evil.example",
    "http://testserver.evil.example/",
]


@pytest.mark.parametrize("foreign_url", FOREIGN_URLS)
@pytest.mark.parametrize("source", ["url", "form"])
def test_the_login_redirects_to_no_other_site(owner: User, foreign_url: str, source: str) -> None:
    form = {"username": "owner", "password": PASSWORD, **({"next": foreign_url} if source == "form" else {})}

    response = Browser().post("/admin/login/", form, query_params={"next": foreign_url} if source == "url" else {})

    assert response.status_code == 302
    assert re.match(r"/[a-z]", response["Location"])


FOREIGN_PATHS = ["//evil.example/admin", "//evil.example", "/admin//evil.example", "/%5cevil.example", "/api//evil.example/"]


@pytest.mark.parametrize("path", FOREIGN_PATHS)
def test_appending_a_slash_redirects_to_no_other_site(client: TestClient, headers: dict[str, str], path: str) -> None:
    response = client.get(f"http://testserver{path}", headers=headers, follow_redirects=False)

    assert re.match(r"^$|/[^/\\]", response.headers.get("Location", ""))


def test_the_login_prevents_session_fixation(client: TestClient, owner: User) -> None:
    victim = Browser()
    fixed_session = victim.session  # an attacker created this session, and made the victim's browser send its cookie
    fixed_session["cart"] = "x"
    fixed_session.save()
    victim.cookies["sessionid"] = fixed_session.session_key or ""

    victim.post("/admin/login/", {"username": "owner", "password": PASSWORD})

    client.cookies.set("sessionid", fixed_session.session_key or "")
    assert client.get("/api/me").status_code == 401
    client.cookies.set("sessionid", victim.cookies["sessionid"].value)
    assert client.get("/api/me").json()["name"] == "owner"


@pytest.mark.parametrize(
    "spoofed",
    [
        {"X-Original-URL": "/api/"},
        {"X-Rewrite-URL": "/api/"},
        {"X-Forwarded-Prefix": "/api"},
        {"X-Forwarded-User": "owner"},
        {"Remote-User": "owner"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1;host=evil.example;proto=https"},
    ],
    ids=str,
)
def test_proxy_headers_do_not_authenticate(client: TestClient, owner: User, spoofed: dict[str, str]) -> None:
    response = client.get("/api/me", headers=spoofed)

    assert response.status_code == 401


def test_ignores_method_override_headers(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/greeting", json={"text": "Hi"}, headers=headers)

    client.get("/api/templates/greeting", headers=headers | {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"})

    assert client.get("/api/templates/greeting", headers=headers).status_code == 200


def test_redirects_ignore_forwarded_hosts(client: TestClient) -> None:
    spoofed = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Server": "evil.example", "X-Forwarded-Proto": "https"}

    responses = [client.get(path, headers=spoofed, follow_redirects=False) for path in ("/api/me/", "/admin/")]

    assert [response.headers["Location"] for response in responses] == ["/api/me", "/admin/login/?next=/admin/"]


# Timing


@pytest.fixture
def compared_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the length of each value that Django compares in constant time."""
    lengths: list[int] = []
    real = crypto.constant_time_compare

    def compare(expected: Any, actual: Any) -> bool:
        lengths.append(len(actual))
        return real(expected, actual)

    monkeypatch.setattr(keys, "constant_time_compare", compare)
    monkeypatch.setattr(access_tokens, "constant_time_compare", compare)
    return lengths


@pytest.mark.parametrize("kind", ["valid", "wrong secret", "revoked", "deleted"])
def test_compares_known_and_unknown_keys_in_constant_time(client: TestClient, compared_lengths: list[int], kind: str) -> None:
    key = create_key("shop", scopes=[])
    if kind == "wrong secret":
        ApiKey.objects.update(secret_hash="0" * 64)
    elif kind == "revoked":
        revoke_key(ApiKey.objects.get().prefix, now=datetime.now(UTC))
    elif kind == "deleted":
        ApiKey.objects.all().delete()

    response = client.get("/api/me", headers=bearer(key))

    assert response.status_code == (200 if kind == "valid" else 401)
    assert compared_lengths == [64, 64]


def test_compares_the_credentials_hash_of_a_token_in_constant_time(
    client: TestClient, headers: dict[str, str], compared_lengths: list[int]
) -> None:
    response = client.get("/api/me", headers=headers)

    assert response.status_code == 200
    assert compared_lengths == [32]
