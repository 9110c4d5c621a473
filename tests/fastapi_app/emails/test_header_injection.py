"""Headers and commands that are smuggled into mail."""

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
from tests.project.transports.fake_relay import TestRelay, fake_relay

SENDER, RECIPIENT, VICTIM = "shop@example.com", "ada@example.com", "victim@example.org"
MAIL: dict[str, Any] = {"from": SENDER, "to": RECIPIENT, "subject": "Hi", "text": "Hi"}
HEADERS = ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "X-Thing", "Content-Type"]
CONTENT = {"Content-Transfer-Encoding", "Content-Disposition", "Content-ID"}  # of a part


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

    message = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.SMTP)
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
        async with fake_relay() as relay:
            channel = SmtpTransport(relay.relay()).create_connection()
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
    email = Email.objects.select_related("raw_message").get()
    relay = on_the_wire(email)

    (sent,) = relay.texts
    assert [command.partition(" ")[0] for command in relay.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert relay.recipients == [[RECIPIENT]]
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", sent)
    assert sent.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.") == bytes(email.raw_message.content)
