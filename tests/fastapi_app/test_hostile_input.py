"""Bodies made to break their reader, and templates that reach out."""

import gzip
import io
import json
import zipfile
from base64 import b64encode
from email import message_from_bytes, policy
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.emails.models import Email, RawMessage
from project.suppressions.models import Suppression

MAIL: dict[str, Any] = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
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

    source = bytes(RawMessage.objects.get().content)
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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/suppressions/a%40example.com%0A", 422),
        ("DELETE", "/suppressions/ada@example.com%0A", 422),
        ("GET", "/templates/welcome%0A", 422),
        ("GET", "/emails%0A", 404),
        ("POST", "/emails/01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e/cancel%0A", 404),
        ("POST", "/send-email/%0A?email=ada@example.com&message=Hi", 404),
        ("GET", "/health/live%0A", 404),
    ],
)
def test_a_line_break_at_the_end_of_a_path_is_not_overlooked(
    client: TestClient, headers: dict[str, str], method: str, path: str, status: int
) -> None:
    Suppression.objects.create(address="ada@example.com")

    answer = client.request(method, f"/api{path}", headers=headers)

    assert (answer.status_code, answer.json().get("code")) == (status, "not_found" if status == 404 else None)
    assert Suppression.objects.count() == 1


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
