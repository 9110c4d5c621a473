"""What attackers try: headers and commands smuggled into mail, logins that lead astray, bodies made to break their reader."""

import asyncio
import gzip
import io
import json
import re
import zipfile
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import crypto
from starlette.testclient import TestClient

from project.accounts import keys, tokens
from project.accounts.keys import create_key, revoke_key
from project.accounts.models import ApiKey, User
from project.outbox.models import Email, Source
from project.outbox.transports.smtp import SmtpTransport
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, bearer
from tests.project.relays import TestRelay, relay_that

SENDER, RECIPIENT, VICTIM = "shop@example.com", "ada@example.com", "victim@example.org"
MAIL: dict[str, Any] = {"from": SENDER, "to": RECIPIENT, "subject": "Hi", "text": "Hi"}
HEADERS = ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "X-Thing", "Content-Type"]
CONTENT = {"Content-Transfer-Encoding", "Content-Disposition", "Content-ID"}  # of a part


@pytest.fixture
def headers(owner: User, token: GetToken) -> dict[str, str]:
    """The administrator's credential."""
    return bearer(token(owner))


def later() -> str:
    """A time at which no engine sends it before the test is over."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


# Headers of their own

LINE_ENDS = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\n\n"]


def mail_with(field: str, text: str) -> dict[str, Any]:
    """A mail that has the text in one of the places that reach a header."""
    file = {"filename": "a.txt", "content": "aGk=", "content_type": "text/plain", "content_id": "a"}
    places: dict[str, dict[str, Any]] = {
        "name": {"from": f"Shop{text} <{SENDER}>"},
        "from": {"from": SENDER + text},
        "to": {"to": [RECIPIENT, f"{text}eve@example.com"]},
        "cc": {"cc": [f"Eve{text} <eve@example.com>"]},
        "bcc": {"bcc": [f"eve@example.com{text}"]},
        "reply_to": {"reply_to": [f'"Eve{text}" <eve@example.com>']},
        "subject": {"subject": f"Hi{text}"},
        "header": {"headers": {"X-Thing": f"x{text}"}},
        "header's name": {"headers": {f"X-Thing{text}": "x"}},
        "tag": {"tags": {"order": f"1{text}"}},
        "file name": {"attachments": [file | {"filename": f"a{text}.txt"}]},
        "file's kind": {"attachments": [file | {"content_type": f"text/plain{text}"}]},
        "content id": {"attachments": [file | {"content_id": f"a{text}"}]},
    }
    return MAIL | places[field]


FIELDS = [
    *("name", "from", "to", "cc", "bcc", "reply_to", "subject", "header", "header's name", "tag"),
    *("file name", "file's kind", "content id"),
]


@pytest.mark.parametrize("end", LINE_ENDS, ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_brings_a_line_end_into_a_header(client: TestClient, headers: dict[str, str], field: str, end: str) -> None:
    mail = mail_with(field, f"{end}Bcc: {VICTIM}")

    answer = client.post("/api/emails", json=mail, headers=headers)

    assert answer.status_code == 422
    assert not Email.objects.exists()


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\v", "\f", "=?utf-8?q?=0D=0A?=", "=0D=0A", "%0d%0a", "\\r\\n"], ids=repr)
@pytest.mark.parametrize("field", ["subject", "header", "file name"])
def test_what_only_looks_like_a_line_end_is_none(client: TestClient, headers: dict[str, str], field: str, end: str) -> None:
    others = {"cc": ["bob@example.com"], "reply_to": [SENDER], "headers": {"X-Thing": "x"}}
    mail = others | mail_with(field, f"{end}Bcc: {VICTIM}")

    client.post("/api/emails", json=mail, headers=headers)

    message = message_from_bytes(bytes(Source.objects.get().content), policy=policy.SMTP)
    assert [name for name in message if name != "Content-Transfer-Encoding"] == HEADERS
    assert {name for part in message.walk() for name in part} <= {*HEADERS, *CONTENT}


OWNED = ["Bcc", "bcc", "BCC", "Resent-Bcc", "Content-Type", "DKIM-Signature", "Return-Path", "Bcc ", "Bcc:"]


@pytest.mark.parametrize("name", OWNED)
def test_a_header_of_the_service_is_not_for_callers(client: TestClient, headers: dict[str, str], name: str) -> None:
    answer = client.post("/api/emails", json=MAIL | {"headers": {name: VICTIM}}, headers=headers)

    assert answer.status_code == 422


def test_a_templates_variable_brings_no_header(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/greeting", json={"subject": "Hi {{ name }}", "text": "Hi"}, headers=headers)
    mail = {"from": SENDER, "to": RECIPIENT, "template": "greeting", "variables": {"name": f"Ada\r\nBcc: {VICTIM}"}}

    answer = client.post("/api/emails", json=mail, headers=headers)

    assert answer.status_code == 422
    assert not Email.objects.exists()


# Commands in content (CVE-2023-51764 and its family)

ENDS = ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\r\n..\r\n", "\n\r\n.\n"]
SMUGGLED = f"MAIL FROM:<{SENDER}>{{0}}RCPT TO:<{VICTIM}>{{0}}DATA{{0}}Subject: forged{{0}}{{0}}x"


def on_the_wire(email: Email) -> TestRelay:
    """What a relay hears that is given the mail."""

    async def give() -> TestRelay:
        async with relay_that() as relay:
            channel = SmtpTransport(relay.relay()).channel()
            outcome = await channel.send(email)
            await channel.close()
            assert outcome.error == ""
        return relay

    return asyncio.run(give())


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("place", ["text", "html", "variable", "file"])
def test_no_content_ends_its_mail_and_begins_another(client: TestClient, headers: dict[str, str], place: str, end: str) -> None:
    attack = f"x{end}{SMUGGLED.format(end[:1])}{end}"
    client.put("/api/templates/greeting", json={"text": "{{ name }}", "html": "{{ name }}"}, headers=headers)
    file = {"filename": "a.txt", "content": b64encode(attack.encode()).decode(), "content_type": "text/plain"}
    contents: dict[str, dict[str, Any]] = {
        "text": {"text": attack},
        "html": {"html": attack},
        "variable": {"template": "greeting", "variables": {"name": attack}},
        "file": {"text": "Hi", "attachments": [file]},
    }

    mail = {"from": SENDER, "to": RECIPIENT, "scheduled_at": later(), **contents[place]}
    assert client.post("/api/emails", json=mail, headers=headers).status_code == 202
    email = Email.objects.select_related("source").get()
    relay = on_the_wire(email)

    (sent,) = relay.texts
    assert [command.partition(" ")[0] for command in relay.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert relay.recipients == [[RECIPIENT]]
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", sent)
    assert sent.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.") == bytes(email.source.content)


# Logins that lead astray

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


# Bodies made to break their reader

DEEP = 50_000


def nested(opening: str, closing: str, inner: str = "1") -> str:
    """JSON, so many levels deep."""
    return opening * DEEP + inner + closing * DEEP


BODIES = [
    nested("[", "]"),
    nested('{"a":', "}"),
    '{"from": "a@b.example", "to": ' + nested("[", "]") + "}",
    '{"from": "a@b.example", "to": "b@b.example", "template": "x", "variables": ' + nested('{"a":', "}") + "}",
    "[" * DEEP,
    '{"from": ' + "9" * 10_000 + "}",
    '{"from": 1e999, "to": NaN, "text": -Infinity}',
    '{"from": "\\ud800", "to": "\\udc00@b.example", "text": "\\ud800"}',
    '{"from": "a@b.example", "to": "b@b.example", "text": "x", ' + '"text": "x", ' * 10_000 + '"text": "x", "a": 1}',
    '"' + "\\u0000" * 1000 + '"',
    "\x00",
    "",
    "null",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:12])
@pytest.mark.parametrize("path", ["/emails", "/emails/batch", "/templates/x/preview"])
def test_a_body_that_is_too_deep_or_none_is_refused(client: TestClient, headers: dict[str, str], path: str, body: str) -> None:
    answer = client.post(f"/api{path}", content=body.encode(), headers=headers | {"Content-Type": "application/json"})

    assert answer.status_code in {400, 404, 422}
    assert len(answer.content) < 10_000
    assert not Email.objects.exists()


def test_a_body_is_not_unpacked(client: TestClient, headers: dict[str, str]) -> None:
    packed = gzip.compress(json.dumps(MAIL).encode())
    kind = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    answer = client.post("/api/emails", content=packed, headers=headers | kind)

    assert answer.status_code in {400, 415, 422}


def test_an_attached_archive_is_not_looked_into(client: TestClient, headers: dict[str, str]) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", b"\0" * 20_000_000)
    file = {"filename": "../../a.zip", "content": b64encode(bomb.getvalue()).decode(), "content_type": "application/zip"}

    answer = client.post("/api/emails", json=MAIL | {"attachments": [file]}, headers=headers)

    source = bytes(Source.objects.get().content)
    (part,) = message_from_bytes(source, policy=policy.default).iter_attachments()
    assert answer.status_code == 202
    assert part.get_payload(decode=True) == bomb.getvalue()
    assert len(source) < 2 * len(bomb.getvalue()) + 2000


NULS = [
    ("GET", "/emails?to=%00", None),
    ("GET", "/emails?tag=a:%00", None),
    ("GET", "/emails?after=%00", None),
    ("GET", "/emails/%00", None),
    ("GET", "/events?types=%00", None),
    ("GET", "/templates/%00", None),
    ("GET", "/templates?after=%00", None),
    ("PUT", "/suppressions/a%00@b.example", {}),
    ("PUT", "/suppressions/a@b.example", {"reason": "\0"}),
    ("GET", "/suppressions?after=%00", None),
    ("PUT", "/templates/x", {"text": "\0"}),
    ("POST", "/emails", MAIL | {"text": "\0"}),
    ("POST", "/emails", MAIL | {"tags": {"\0": "x"}}),
    ("POST", "/emails", MAIL | {"template": "x\0"}),
]


@pytest.mark.parametrize(("method", "path", "body"), NULS, ids=lambda value: str(value)[:40])
def test_a_nul_is_refused_before_the_database_sees_it(
    client: TestClient, headers: dict[str, str], method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = client.request(method, f"/api{path}", json=body, headers=headers)

    assert answer.status_code == 422


# Templates that reach out

ESCAPES = [
    "{{ name.__class__ }}",
    "{{ name['__class__'] }}",
    "{{ name.__init__.__globals__ }}",
    "{{ settings.SECRET_KEY }}",
    "{{ self }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ name | attr: '__class__' }}",
    "{% include '/etc/passwd' %}",
    "{% render '../../manage.py' %}",
    "{% extends 'admin/base.html' %}",
    "{% load static %}",
    "{% import 'os' as os %}",
    "{% python %}1{% endpython %}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_reaches_nothing_but_its_variables(client: TestClient, headers: dict[str, str], source: str) -> None:
    put = client.put("/api/templates/escape", json={"text": source}, headers=headers)

    shown = client.post("/api/templates/escape/preview", json={"variables": {"name": "Ada"}}, headers=headers)

    assert 422 in {put.status_code, shown.status_code}
    assert shown.status_code in {404, 422}


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
    monkeypatch.setattr(tokens, "constant_time_compare", compare)
    return lengths


@pytest.mark.parametrize("kind", ["good", "wrong secret", "revoked", "deleted"])
def test_a_key_is_compared_in_constant_time_be_it_there_or_not(client: TestClient, compared: list[int], kind: str) -> None:
    key = create_key("shop", scopes=[])
    if kind == "wrong secret":
        ApiKey.objects.update(hashed="0" * 64)
    elif kind == "revoked":
        revoke_key(ApiKey.objects.get().public, now=datetime.now(UTC))
    elif kind == "deleted":
        ApiKey.objects.all().delete()

    answer = client.get("/api/me", headers=bearer(key))

    assert answer.status_code == (200 if kind == "good" else 401)
    assert compared == [64, 64]


def test_a_tokens_stamp_is_compared_in_constant_time(client: TestClient, headers: dict[str, str], compared: list[int]) -> None:
    answer = client.get("/api/me", headers=headers)

    assert answer.status_code == 200
    assert compared == [32]
