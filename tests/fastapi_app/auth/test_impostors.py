"""Who would pass for another: by a login that leads astray, a proxy's word, or the time that a refusal takes."""

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

AWAY = [
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


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("where", ["url", "form"])
def test_a_login_leads_to_no_other_site(owner: User, away: str, where: str) -> None:
    form = {"username": "owner", "password": PASSWORD, **({"next": away} if where == "form" else {})}

    answer = Browser().post("/admin/login/", form, query_params={"next": away} if where == "url" else {})

    assert answer.status_code == 302
    assert re.match(r"/[a-z]", answer["Location"])


SLASHES = ["//evil.example/admin", "//evil.example", "/admin//evil.example", "/%5cevil.example", "/api//evil.example/"]


@pytest.mark.parametrize("path", SLASHES)
def test_no_missing_slash_leads_to_another_site(client: TestClient, headers: dict[str, str], path: str) -> None:
    answer = client.get(f"http://testserver{path}", headers=headers, follow_redirects=False)

    assert re.match(r"^$|/[^/\\]", answer.headers.get("Location", ""))


def test_a_login_takes_no_session_that_somebody_else_knows(client: TestClient, owner: User) -> None:
    victim = Browser()
    planted = victim.session  # an attacker began it, and has the victim's browser send its cookie
    planted["cart"] = "x"
    planted.save()
    victim.cookies["sessionid"] = planted.session_key or ""

    victim.post("/admin/login/", {"username": "owner", "password": PASSWORD})

    client.cookies.set("sessionid", planted.session_key or "")
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
def test_no_header_of_a_proxy_lets_anybody_in(client: TestClient, owner: User, spoofed: dict[str, str]) -> None:
    answer = client.get("/api/me", headers=spoofed)

    assert answer.status_code == 401


def test_a_method_is_what_the_request_line_says(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/greeting", json={"text": "Hi"}, headers=headers)

    client.get("/api/templates/greeting", headers=headers | {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"})

    assert client.get("/api/templates/greeting", headers=headers).status_code == 200


def test_a_forwarded_host_is_in_no_redirect(client: TestClient) -> None:
    spoofed = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Server": "evil.example", "X-Forwarded-Proto": "https"}

    answers = [client.get(path, headers=spoofed, follow_redirects=False) for path in ("/api/me/", "/admin/")]

    assert [answer.headers["Location"] for answer in answers] == ["http://testserver/api/me", "/admin/login/?next=/admin/"]


# How long a refusal takes


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long what was compared was, each time that Django compared two in constant time."""
    lengths: list[int] = []
    real = crypto.constant_time_compare

    def compare(one: Any, other: Any) -> bool:
        lengths.append(len(other))
        return real(one, other)

    monkeypatch.setattr(keys, "constant_time_compare", compare)
    monkeypatch.setattr(access_tokens, "constant_time_compare", compare)
    return lengths


@pytest.mark.parametrize("kind", ["good", "wrong secret", "revoked", "deleted"])
def test_a_key_is_compared_in_constant_time_be_it_there_or_not(client: TestClient, compared: list[int], kind: str) -> None:
    key = create_key("shop", scopes=[])
    if kind == "wrong secret":
        ApiKey.objects.update(secret_hash="0" * 64)
    elif kind == "revoked":
        revoke_key(ApiKey.objects.get().prefix, now=datetime.now(UTC))
    elif kind == "deleted":
        ApiKey.objects.all().delete()

    answer = client.get("/api/me", headers=bearer(key))

    assert answer.status_code == (200 if kind == "good" else 401)
    assert compared == [64, 64]


def test_a_tokens_stamp_is_compared_in_constant_time(client: TestClient, headers: dict[str, str], compared: list[int]) -> None:
    answer = client.get("/api/me", headers=headers)

    assert answer.status_code == 200
    assert compared == [32]
