"""Property tests of the MIME builder: any draft survives the round trip through Python's own parser.

For a long run with random examples: `MIME_EXAMPLES=20000 pytest tests/project/emails/mime/test_builder_property.py`.
"""

import email
import email.policy
import os
import re
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project.emails.mime.builder import Attachment, Draft
from project.emails.mime.custom_headers import is_reserved_header
from project.emails.mime.relay_headers import is_relay_header
from project.emails.submit import NewEmail, prepare_email

DATE = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LONG_RUN = "MIME_EXAMPLES" in os.environ

any_draft = settings(
    max_examples=int(os.environ.get("MIME_EXAMPLES", "150")),
    derandomize=not LONG_RUN,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# Strategies

LINE_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\r\n\0")
LOOKALIKES = [
    "=?utf-8?q?x?=",
    "=41",
    '"',
    "\\",
    "\u2028",
    "\x85",
    "\t",
    "漢" * 400,
    "w" * 2_000,
    "  ",
    "é",
    "--=_mixed",
    "a, b <c@d.example>",
]
lines = st.lists(st.text(LINE_CHARACTERS, max_size=40) | st.sampled_from(LOOKALIKES), max_size=5).map("".join)
ENDS = ["\r", "\n", "\r\n", "\n\n", "\r\r\n", "\n.\n", "\n..", "\nFrom ", " \n", "\t\r\n"]
texts = st.lists(lines | st.sampled_from(ENDS), max_size=12).map("".join)

specs = st.from_regex(r"[a-z0-9.+_-]{1,30}@[a-z0-9-]{1,20}\.example", fullmatch=True)
mailboxes = st.tuples(lines, specs)
header_names = st.from_regex(r"[!-9;-~]{1,76}", fullmatch=True).filter(
    lambda name: not is_reserved_header(name) and not is_relay_header(name)
)
header_values = lines.map(lambda line: " ".join(re.sub("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", line).split()))
headers = st.lists(st.tuples(header_names, header_values), max_size=4, unique_by=lambda each: each[0].lower())
content_ids = st.none() | st.from_regex(r"[!-;=?-~]{1,60}", fullmatch=True)
attachments = st.builds(
    Attachment,
    filename=lines,
    content=st.binary(max_size=300) | st.integers(0, 255).map(lambda octet: bytes([octet]) * 200),
    content_type=st.sampled_from(["application/pdf", "image/png", "text/plain", 'text/csv; charset="utf-8"']),
    content_id=content_ids,
)


def format_mailbox(mailbox: tuple[str, str]) -> str:
    """Return `"name" <address>`, with the name quoted."""
    name = re.sub(r'(["\\])', r"\\\1", mailbox[0])
    return f'"{name}" <{mailbox[1]}>'


# Parsing


def parsed(draft: Draft) -> EmailMessage:
    """Prepare and parse an email, and check that every relay can transmit its bytes."""
    prepared = prepare_email(NewEmail(draft), now=DATE)
    raw = bytes(prepared.content)
    assert max(raw) < 128
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Message-ID"] == prepared.email.message_id
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


def mailboxes_in(message: EmailMessage, name: str) -> list[tuple[str, str]]:
    """Return names and email addresses, decoded by Python's older parser. The newer parser inserts spaces into long names."""
    (value,) = (value for header, value in message.raw_items() if header == name)
    return [
        (str(make_header(decode_header(encoded))), spec) for encoded, spec in getaddresses([re.sub(r"\r?\n", "", str(value))])
    ]


def lines_of(text: str) -> list[str]:
    """Return the lines of a text. The result is the same with and without a line end after the last line."""
    lines = re.split(r"\r\n|\r|\n", text)
    return lines if lines[-1] or len(lines) == 1 else lines[:-1]


def content_of(message: EmailMessage, kind: str) -> list[str]:
    """Return the lines of the text or HTML part."""
    part = message.get_body((kind,))
    assert part is not None
    return lines_of(part.get_content())


def file_of(part: EmailMessage) -> tuple[str, bytes, str, str]:
    """Return the name, content, content type and Content-ID of a part."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    # get_filename() would strip brackets and quotes that belong to the name.
    name = part["Content-Disposition"].params.get("filename", "")
    return name, content, part.get_content_type(), part.get("Content-ID", "")


def expected_file(attachment: Attachment) -> tuple[str, bytes, str, str]:
    """Return the name, content, content type and Content-ID that the part of an attachment must have."""
    content_id = "" if attachment.content_id is None else f"<{attachment.content_id}>"
    return attachment.filename, attachment.content, attachment.media_type.partition(";")[0], content_id


# Properties


@any_draft
@given(sender=mailboxes, to=st.lists(mailboxes, min_size=1, max_size=5), reply_to=st.lists(mailboxes, max_size=2))
def test_every_address_survives_the_round_trip(
    sender: tuple[str, str], to: list[tuple[str, str]], reply_to: list[tuple[str, str]]
) -> None:
    to_, reply_to_ = tuple(map(format_mailbox, to)), tuple(map(format_mailbox, reply_to))
    draft = Draft(sender=format_mailbox(sender), to=to_, cc=to_[1:], bcc=("hidden@x.example",), reply_to=reply_to_, text="Hi")

    message = parsed(draft)

    assert mailboxes_in(message, "From") == [sender]
    assert mailboxes_in(message, "To") == to
    assert ("Cc" not in message) if to[1:] == [] else (mailboxes_in(message, "Cc") == to[1:])
    assert ("Reply-To" not in message) if reply_to == [] else (mailboxes_in(message, "Reply-To") == reply_to)
    assert "hidden" not in message.as_string()


@any_draft
@given(subject=lines, custom_headers=headers)
def test_every_header_survives_the_round_trip(subject: str, custom_headers: list[tuple[str, str]]) -> None:
    draft = Draft(sender="a@x.example", to=("b@x.example",), subject=subject, text="Hi", headers=dict(custom_headers))

    message = parsed(draft)

    assert message["Subject"] == subject
    assert {name: str(message[name]) for name, _ in custom_headers} == dict(custom_headers)
    assert message["Date"].datetime == DATE


@any_draft
@given(text=st.none() | texts, html=texts, files=st.lists(attachments, max_size=4))
def test_every_part_survives_the_round_trip(text: str | None, html: str, files: list[Attachment]) -> None:
    referenced = [file for number, file in enumerate(files) if file.content_id is not None and number % 2]
    html += "".join(f'<img src="cid:{quote(str(file.content_id), safe="")}">' for file in referenced)
    inline = [file for file in files if file.content_id in {each.content_id for each in referenced}]

    message = parsed(Draft(sender="a@x.example", to=("b@x.example",), text=text, html=html, attachments=tuple(files)))

    assert text is None or content_of(message, "plain") == lines_of(text)
    assert content_of(message, "html") == lines_of(html)
    parts = [part for part in message.walk() if part.get_content_disposition() is not None]
    assert [file_of(part) for part in parts if part.get_content_disposition() == "inline"] == list(map(expected_file, inline))
    assert [file_of(part) for part in parts if part.get_content_disposition() == "attachment"] == [
        expected_file(file) for file in files if file not in inline
    ]
