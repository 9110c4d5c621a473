"""Hostile input: malformed bodies, NUL characters, zip bombs and templates that try to escape the sandbox."""

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

EMAIL: dict[str, Any] = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
DEPTH = 50_000


def nested(opening: str, closing: str, inner: str = "1") -> str:
    """Return JSON with `DEPTH` nested levels."""
    return opening * DEPTH + inner + closing * DEPTH


BODIES = [
    nested("[", "]"),
    nested('{"a":', "}"),
    '{"from": "a@b.example", "to": ' + nested("[", "]") + "}",
    '{"from": "a@b.example", "to": "b@b.example", "template": "x", "variables": ' + nested('{"a":', "}") + "}",
    "[" * DEPTH,
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
def test_rejects_malformed_and_deeply_nested_bodies(client: TestClient, headers: dict[str, str], path: str, body: str) -> None:
    response = client.post(f"/api{path}", content=body.encode(), headers=headers | {"Content-Type": "application/json"})

    assert response.status_code in {400, 404, 422}
    assert len(response.content) < 10_000
    assert not Email.objects.exists()


def test_does_not_decompress_a_body(client: TestClient, headers: dict[str, str]) -> None:
    compressed = gzip.compress(json.dumps(EMAIL).encode())
    content_headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    response = client.post("/api/emails", content=compressed, headers=headers | content_headers)

    assert response.status_code in {400, 415, 422}


def test_does_not_unpack_an_attached_archive(client: TestClient, headers: dict[str, str]) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", b"\0" * 20_000_000)
    attachment = {"filename": "../../a.zip", "content": b64encode(bomb.getvalue()).decode(), "content_type": "application/zip"}

    response = client.post("/api/emails", json=EMAIL | {"attachments": [attachment]}, headers=headers)

    source = bytes(RawMessage.objects.get().content)
    (part,) = message_from_bytes(source, policy=policy.default).iter_attachments()
    assert response.status_code == 202
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
    ("POST", "/emails", EMAIL | {"text": "\0"}),
    ("POST", "/emails", EMAIL | {"tags": {"\0": "x"}}),
    ("POST", "/emails", EMAIL | {"template": "x\0"}),
]


@pytest.mark.parametrize(("method", "path", "body"), NULS, ids=lambda value: str(value)[:40])
def test_rejects_nul_characters(
    client: TestClient, headers: dict[str, str], method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = client.request(method, f"/api{path}", json=body, headers=headers)

    assert response.status_code == 422


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
def test_rejects_a_line_break_at_the_end_of_a_path(
    client: TestClient, headers: dict[str, str], method: str, path: str, status: int
) -> None:
    Suppression.objects.create(address="ada@example.com")

    response = client.request(method, f"/api{path}", headers=headers)

    assert (response.status_code, response.json().get("code")) == (status, "not_found" if status == 404 else None)
    assert Suppression.objects.count() == 1


# Sandbox escapes

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
def test_a_template_can_only_access_its_variables(client: TestClient, headers: dict[str, str], source: str) -> None:
    put = client.put("/api/templates/escape", json={"text": source}, headers=headers)

    preview = client.post("/api/templates/escape/preview", json={"variables": {"name": "Ada"}}, headers=headers)

    assert 422 in {put.status_code, preview.status_code}
    assert preview.status_code in {404, 422}
