"""Fuzz tests: any input from outside is accepted, or rejected with the expected error.

For a long run with random input: `FUZZ_EXAMPLES=20000 pytest tests/project/test_fuzz.py`.
"""

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.testclient import TestClient

from project.api_keys.keys import create_key
from project.config.durations import MAX_RETRY_DELAY, parse_durations
from project.config.email_url import Relay, parse_email_url
from project.emails.mime.builder import Attachment, Draft, build_message
from project.emails.mime.custom_headers import format_header
from project.emails.mime.email_addresses import normalize_address, normalize_mailbox
from project.mail_templates.liquid import CompiledTemplate, EmailParts, TemplateInvalid
from project.suppressions.csv import import_csv
from project.suppressions.models import Suppression
from project.transports.smtp.protocol import MAX_REPLY_LINE_BYTES, MAX_REPLY_LINES, MAX_UNREAD_REPLIES, SmtpConnection
from project.transports.smtp.replies import MAX_REQUESTED_DELAY, MAX_TEXT_LENGTH, Reply

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
LONG_RUN = "FUZZ_EXAMPLES" in os.environ
AT = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"}
HEADERS = ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version"]


def any_input(divisor: int = 1) -> examples:
    """Return the Hypothesis settings. A slow test uses a divisor to run fewer examples."""
    return examples(
        max_examples=max(1, EXAMPLES // divisor),
        derandomize=not LONG_RUN,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def built_from(*pieces: str) -> st.SearchStrategy[str]:
    """Return a strategy for texts made of these pieces and of random text, so that many of the texts are almost valid."""
    return st.lists(st.sampled_from(pieces) | st.text(max_size=5), max_size=12).map("".join)


mailboxes = built_from(
    "ada", "@", "example.com", "bücher.example", "<", ">", '"', "\\", ".", " ", ",", "\r\n", "\n", "\0", "[127.0.0.1]", "(x)"
)
lines = built_from(
    "X-Thing", "Bcc: eve@evil.example", ":", " ", "\r\n", "\n", "\r", "\0", "=?utf-8?q?=0A?=", "\u2028", "\x85", "é"
)
texts = st.tuples(lines, lines)
reply_texts = built_from(
    "250", "550 ", "5.1.1", "#5.5.0", "-", "\r\n", "\n", "try again in", " 5 minutes", "00:05:00", "9" * 30, "\x1b[31m", "\0"
)
urls = built_from(
    "smtp", "smtps", "+starttls", "://", "mailbox", "user", ":", "@", "host", "2525", "/", "?", "timeout=", "9", "%", "[", "#"
)
delays = built_from("1", "9" * 9, "m", "h", "d", "s", ",", " ", "-", ".", "٣")
sources = built_from(
    "{{",
    "}}",
    "{%",
    "%}",
    " name ",
    "|",
    " upcase",
    " if ",
    " endif ",
    " for i in (1..9) ",
    " endfor ",
    "'",
    ".",
    "[",
    "]",
    " raw ",
    "-",
)

# Email addresses and headers


@any_input()
@given(mailboxes)
def test_an_address_is_normalized_or_rejected(text: str) -> None:
    try:
        normal = normalize_address(text)
    except ValueError:
        return

    assert normalize_address(normal) == normal
    assert normal.isascii()
    assert normal.isprintable()
    assert not set(normal) & set(" <>\r\n")


@any_input()
@given(mailboxes)
def test_a_mailbox_is_normalized_for_a_message_or_rejected(text: str) -> None:
    try:
        normal = normalize_mailbox(text)
    except ValueError:
        return

    assert normalize_mailbox(normal) == normal
    assert b"\r\n\r\n" in build_message(Draft(normal, to=(normal,), text="Hi"), message_id="<x@example.com>", date=AT)


@any_input()
@given(lines, lines)
def test_a_header_is_one_line_or_rejected(name: str, value: str) -> None:
    try:
        written = format_header(name, value)
    except ValueError:
        return

    assert re.fullmatch("[!-9;-~]{1,76}", name)
    assert not set(value) & set("\r\n\0")
    assert re.fullmatch("[ -~]*(\r\n [ -~]+)*", written)


@any_input(2)
@given(texts, lines, lines, st.lists(mailboxes | lines, max_size=3), lines)
def test_no_input_adds_an_unrequested_header(
    given_texts: tuple[str, str], name: str, value: str, addresses: list[str], file: str
) -> None:
    to, files = ("ada@example.com", *addresses), (Attachment(file, b"x", content_id=file or None),)
    draft = Draft(
        "shop@example.com",
        to=to,
        cc=to,
        reply_to=to,
        subject=given_texts[0],
        text=given_texts[1],
        headers={name: value},
        attachments=files,
    )
    try:
        raw = build_message(draft, message_id="<x@example.com>", date=AT)
    except ValueError:
        return

    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw)
    assert [each for each in message_from_bytes(raw, policy=policy.SMTP) if each != "Content-Type"] == [*HEADERS, name]


# SMTP replies


@any_input()
@given(st.integers(), reply_texts)
def test_a_reply_is_one_printable_line_with_a_plausible_delay(code: int, text: str) -> None:
    reply = Reply(code, text)

    assert reply.text.isprintable()
    assert len(reply.text) <= MAX_TEXT_LENGTH
    assert reply.requested_delay is None or timedelta() < reply.requested_delay <= MAX_REQUESTED_DELAY


class FakeTransport(asyncio.Transport):
    """An asyncio transport without a peer. It records whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Do nothing, because the test calls the protocol directly."""

    def abort(self) -> None:
        """Record the abort."""
        self.aborted = True


bursts = st.binary(max_size=50) | st.sampled_from(
    [b"250 OK\r\n", b"250-more\r\n", b"\n", b"\r", b"250", b" ", b"\xff", b"250 OK\n" * 60, b"250-\n" * 60, b"x" * 5000]
)


@any_input()
@given(st.lists(bursts, max_size=30))
def test_a_relay_that_sends_too_much_is_disconnected(chunks: list[bytes]) -> None:
    transport = FakeTransport()
    connection = SmtpConnection(transport, timeout=1, data_done_timeout=1, pipelining=True, size=True)

    for chunk in chunks:
        connection.data_received(chunk)
        sizes = (len(connection._unread), len(connection._lines), len(connection._replies))
        assert transport.aborted or all(
            size <= limit for size, limit in zip(sizes, (MAX_REPLY_LINE_BYTES, MAX_REPLY_LINES, MAX_UNREAD_REPLIES), strict=True)
        )
        if transport.aborted:
            break

    assert all(-1 <= code <= 999 for code, _text in connection._replies)


@any_input()
@given(
    st.lists(st.sampled_from([b"250 OK\r\n", b"250-a\r\n250 b\r\n", b"550 5.1.1 No\n", b"nonsense\r\n"]), max_size=10), st.data()
)
def test_replies_do_not_depend_on_how_the_stream_is_split(replies: list[bytes], data: st.DataObject) -> None:
    text = b"".join(replies)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=10)) | {0, len(text)})
    whole, cut = (SmtpConnection(FakeTransport(), timeout=1, data_done_timeout=1, pipelining=True, size=True) for _ in range(2))

    whole.data_received(text)
    for start, end in pairwise(cuts):
        cut.data_received(text[start:end])

    assert cut._replies == whole._replies
    assert len(whole._replies) == len(replies)


# Files and settings


rows = built_from(
    "ada@example.com", "bob@example.com", ",", '"', "\r\n", "\n", "\r", "address,reason", "'=1+1", "\0", ";", "\ufeff"
)


@any_input(2)
@given(st.binary(max_size=60) | rows.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_suppression_file_is_imported_line_by_line(shared_test_connection: None, content: bytes) -> None:
    Suppression.objects.all().delete()
    file = content.splitlines(keepends=True)

    result = import_csv(file, now=AT)

    stored = list(Suppression.objects.values_list("address", flat=True))
    assert result.imported + len(result.invalid) <= len(file)
    assert len(stored) <= result.imported
    assert [normalize_address(address).lower() for address in stored] == stored


@any_input()
@given(urls, urls)
def test_an_email_url_is_parsed_or_rejected_without_showing_its_password(before: str, after: str) -> None:
    try:
        result: Relay | ValueError | None = parse_email_url(f"{before}://user:secret@{after}")
    except ValueError as error:
        result = error

    assert "secret" not in repr(result)
    assert isinstance(result, ValueError) or (isinstance(result, Relay) and result.host and 0 < result.port < 2**16)


@any_input()
@given(delays)
def test_delays_are_parsed_or_rejected(text: str) -> None:
    try:
        parsed = parse_durations(text)
    except ValueError:
        return

    assert all(timedelta() <= delay <= MAX_RETRY_DELAY for delay in parsed)


# Through the API


header_values = st.binary(max_size=300).map(lambda value: re.sub(rb"[\r\n\0]", b"", value)) | lines.map(
    lambda text: re.sub(r"[\r\n\0]", "", text).encode("utf-8", "replace")
)


@pytest.fixture
def key(shared_test_connection: None) -> str:
    """Return an API key that may send emails."""
    return create_key("shop", scopes=["emails:send"])


@any_input(5)
@given(header_values)
def test_an_idempotency_key_is_accepted_or_rejected(client: TestClient, key: str, value: bytes) -> None:
    headers: Any = {b"Authorization": f"Bearer {key}".encode(), b"Idempotency-Key": value}

    response = client.post("/api/emails", json=EMAIL, headers=headers)

    is_valid = re.fullmatch(rb"[\x20-\x7e]{1,255}", value) is not None
    assert response.status_code == (202 if is_valid else 422)


@any_input(2)
@given(header_values)
def test_rejects_an_invalid_authorization_header(client: TestClient, value: bytes) -> None:
    headers: Any = {b"Authorization": b"Bearer " + value}

    response = client.get("/api/me", headers=headers)

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


@any_input(2)
@given(sources, st.text(max_size=10))
def test_a_template_is_rendered_or_rejected(source: str, name: str) -> None:
    try:
        rendered = CompiledTemplate(EmailParts(source, source, source)).render({"name": name})
    except TemplateInvalid:
        return

    assert not set(rendered.subject) & set("\r\n")
    assert "\0" not in rendered.subject + rendered.text + rendered.html
