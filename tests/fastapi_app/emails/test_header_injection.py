"""Header injection and SMTP smuggling."""

import asyncio
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.emails.models import Email, RawMessage
from project.transports.smtp.transport import SmtpTransport
from tests.project.transports.fake_relay import FakeRelay, fake_relay

SENDER, RECIPIENT, VICTIM = "shop@example.com", "ada@example.com", "victim@example.org"
EMAIL: dict[str, Any] = {"from": SENDER, "to": RECIPIENT, "subject": "Hi", "text": "Hi"}
HEADERS = ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "X-Thing", "Content-Type"]
PART_HEADERS = {"Content-Transfer-Encoding", "Content-Disposition", "Content-ID"}


def later() -> str:
    """Return the time one hour from now, so that no background task sends the email during the test."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


# Header injection

LINE_ENDS = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\n\n"]
MISLEADING = ["\v", "\f", "\x1b[2K", "\x7f", "\x85", "\x9b", "\u202e", "\u2066"]
LEGITIMATE = ["שלום\u200f עולם", "می\u200cخواهم", "क्\u200dष", "👩\u200d👩\u200d👧", "\u2028"]


def email_with(field: str, text: str) -> dict[str, Any]:
    """Return the JSON of an email that has `text` in this field."""
    file = {"filename": "a.txt", "content": "aGk=", "content_type": "text/plain", "content_id": "a"}
    changes: dict[str, dict[str, Any]] = {
        "name": {"from": f"Shop{text} <{SENDER}>"},
        "from": {"from": SENDER + text},
        "to": {"to": [RECIPIENT, f"{text}eve@example.com"]},
        "cc": {"cc": [f"Eve{text} <eve@example.com>"]},
        "bcc": {"bcc": [f"eve@example.com{text}"]},
        "reply_to": {"reply_to": [f'"Eve{text}" <eve@example.com>']},
        "subject": {"subject": f"Hi{text}"},
        "header": {"headers": {"X-Thing": f"x{text}"}},
        "header name": {"headers": {f"X-Thing{text}": "x"}},
        "tag": {"tags": {"order": f"1{text}"}},
        "file name": {"attachments": [file | {"filename": f"a{text}.txt"}]},
        "content type": {"attachments": [file | {"content_type": f"text/plain{text}"}]},
        "content ID": {"attachments": [file | {"content_id": f"a{text}"}]},
    }
    return EMAIL | changes[field]


FIELDS = [
    *("name", "from", "to", "cc", "bcc", "reply_to", "subject", "header", "header name", "tag"),
    *("file name", "content type", "content ID"),
]


@pytest.mark.parametrize("end", [*LINE_ENDS, *MISLEADING], ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_rejects_a_line_end_or_control_character_in_any_header_field(
    client: TestClient, headers: dict[str, str], field: str, end: str
) -> None:
    email = email_with(field, f"{end}Bcc: {VICTIM}")

    response = client.post("/api/emails", json=email, headers=headers)

    assert response.status_code == 422
    assert not Email.objects.exists()


@pytest.mark.parametrize("text", LEGITIMATE)
@pytest.mark.parametrize("field", ["subject", "header", "tag", "file name"])
def test_accepts_text_of_any_script(client: TestClient, headers: dict[str, str], field: str, text: str) -> None:
    response = client.post("/api/emails", json=email_with(field, text), headers=headers)

    assert response.status_code == 202


@pytest.mark.parametrize("end", ["\u2028", "=?utf-8?q?=0D=0A?=", "=0D=0A", "%0d%0a", "\\r\\n"], ids=repr)
@pytest.mark.parametrize("field", ["subject", "header", "file name"])
def test_characters_similar_to_a_line_end_add_no_header(
    client: TestClient, headers: dict[str, str], field: str, end: str
) -> None:
    others = {"cc": ["bob@example.com"], "reply_to": [SENDER], "headers": {"X-Thing": "x"}}
    email = others | email_with(field, f"{end}Bcc: {VICTIM}")

    client.post("/api/emails", json=email, headers=headers)

    message = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.SMTP)
    assert [name for name in message if name != "Content-Transfer-Encoding"] == HEADERS
    assert {name for part in message.walk() for name in part} <= {*HEADERS, *PART_HEADERS}


RESERVED = ["Bcc", "bcc", "BCC", "Resent-Bcc", "Content-Type", "DKIM-Signature", "Return-Path", "Bcc ", "Bcc:"]


@pytest.mark.parametrize("name", RESERVED)
def test_rejects_a_reserved_header(client: TestClient, headers: dict[str, str], name: str) -> None:
    response = client.post("/api/emails", json=EMAIL | {"headers": {name: VICTIM}}, headers=headers)

    assert response.status_code == 422


@pytest.mark.parametrize("end", ["\r\n", "\x1b[2K", "\u202e"], ids=repr)
def test_rejects_a_control_character_in_a_template_variable_of_the_subject(
    client: TestClient, headers: dict[str, str], end: str
) -> None:
    client.put("/api/templates/greeting", json={"subject": "Hi {{ name }}", "text": "Hi"}, headers=headers)
    email = {"from": SENDER, "to": RECIPIENT, "template": "greeting", "variables": {"name": f"Ada{end}Bcc: {VICTIM}"}}

    response = client.post("/api/emails", json=email, headers=headers)

    assert response.status_code == 422
    assert not Email.objects.exists()


# SMTP smuggling (CVE-2023-51764 and related)

ENDS = ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\r\n..\r\n", "\n\r\n.\n"]
SMUGGLED = f"MAIL FROM:<{SENDER}>{{0}}RCPT TO:<{VICTIM}>{{0}}DATA{{0}}Subject: forged{{0}}{{0}}x"


def send_to_relay(email: Email) -> FakeRelay:
    """Send the email to a fake relay, and return the relay, which has recorded all commands and messages."""

    async def send() -> FakeRelay:
        async with fake_relay() as relay:
            smtp = SmtpTransport(relay.relay()).create_connection()
            result = await smtp.send(email)
            await smtp.close()
            assert result.error == ""
        return relay

    return asyncio.run(send())


@pytest.mark.parametrize("end", ENDS, ids=repr)
@pytest.mark.parametrize("part", ["text", "html", "variable", "file"])
def test_no_content_ends_the_message_early(client: TestClient, headers: dict[str, str], part: str, end: str) -> None:
    attack = f"x{end}{SMUGGLED.format(end[:1])}{end}"
    client.put("/api/templates/greeting", json={"text": "{{ name }}", "html": "{{ name }}"}, headers=headers)
    file = {"filename": "a.txt", "content": b64encode(attack.encode()).decode(), "content_type": "text/plain"}
    contents: dict[str, dict[str, Any]] = {
        "text": {"text": attack},
        "html": {"html": attack},
        "variable": {"template": "greeting", "variables": {"name": attack}},
        "file": {"text": "Hi", "attachments": [file]},
    }

    body = {"from": SENDER, "to": RECIPIENT, "scheduled_at": later(), **contents[part]}
    assert client.post("/api/emails", json=body, headers=headers).status_code == 202
    email = Email.objects.select_related("raw_message").get()
    relay = send_to_relay(email)

    (received,) = relay.messages
    assert [command.partition(" ")[0] for command in relay.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert relay.recipients == [[RECIPIENT]]
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", received)
    assert received.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.") == bytes(email.raw_message.content)
