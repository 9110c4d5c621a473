"""Whatever a mail is made of comes out of it again, as Python's own parser reads it; Hypothesis thinks of the mails.

`MIME_EXAMPLES=20000 pytest tests/project/test_mime_property.py` is the long run, with other mails each time.
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
from project.emails.mime.headers import is_reserved_header
from project.emails.submit import NewEmail, prepare_email

DATE = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LONG_RUN = "MIME_EXAMPLES" in os.environ

any_mail = settings(
    max_examples=int(os.environ.get("MIME_EXAMPLES", "150")),
    derandomize=not LONG_RUN,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# What mails are made of

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
header_names = st.from_regex(r"[!-9;-~]{1,76}", fullmatch=True).filter(lambda name: not is_reserved_header(name))
headers = st.lists(
    st.tuples(header_names, lines.map(lambda line: line[:998])), max_size=4, unique_by=lambda each: each[0].lower()
)
content_ids = st.none() | st.from_regex(r"[!-;=?-~]{1,60}", fullmatch=True)
attachments = st.builds(
    Attachment,
    filename=lines,
    content=st.binary(max_size=300) | st.integers(0, 255).map(lambda octet: bytes([octet]) * 200),
    content_type=st.sampled_from(["application/pdf", "image/png", "text/plain", 'text/csv; charset="utf-8"']),
    content_id=content_ids,
)


def written(mailbox: tuple[str, str]) -> str:
    """A name and an address as a sender writes them."""
    name = re.sub(r'(["\\])', r"\\\1", mailbox[0])
    return f'"{name}" <{mailbox[1]}>'


# How they are read


def parsed(draft: Draft) -> EmailMessage:
    """What a reader gets of a mail as it is accepted, after what every relay asks of the bytes."""
    accepted = prepare_email(NewEmail(draft), now=DATE)
    raw = bytes(accepted.content)
    assert max(raw) < 128
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Message-ID"] == accepted.email.message_id
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


def mailboxes_in(message: EmailMessage, name: str) -> list[tuple[str, str]]:
    """Names and addresses. The newer parser puts spaces of its own into long names; the older one reads them right."""
    (value,) = (value for header, value in message.raw_items() if header == name)
    return [(str(make_header(decode_header(shown))), spec) for shown, spec in getaddresses([re.sub(r"\r?\n", "", str(value))])]


def lines_of(text: str) -> list[str]:
    """A text's lines; the last needs no end."""
    found = re.split(r"\r\n|\r|\n", text)
    return found if found[-1] or len(found) == 1 else found[:-1]


def content_of(message: EmailMessage, kind: str) -> list[str]:
    """The lines of its text or HTML."""
    part = message.get_body((kind,))
    assert part is not None
    return lines_of(part.get_content())


def file_of(part: EmailMessage) -> tuple[str, bytes, str, str]:
    """A file's name, content, kind and id."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    # get_filename() takes the brackets and quotes off a name that has them.
    name = part["Content-Disposition"].params.get("filename", "")
    return name, content, part.get_content_type(), part.get("Content-ID", "")


def file_given(attachment: Attachment) -> tuple[str, bytes, str, str]:
    """The same of what was given."""
    content_id = "" if attachment.content_id is None else f"<{attachment.content_id}>"
    return attachment.filename, attachment.content, attachment.content_type.partition(";")[0], content_id


# What holds


@any_mail
@given(sender=mailboxes, to=st.lists(mailboxes, min_size=1, max_size=5), reply_to=st.lists(mailboxes, max_size=2))
def test_every_address_comes_back(sender: tuple[str, str], to: list[tuple[str, str]], reply_to: list[tuple[str, str]]) -> None:
    to_, reply_to_ = tuple(map(written, to)), tuple(map(written, reply_to))
    draft = Draft(sender=written(sender), to=to_, cc=to_[1:], bcc=("hidden@x.example",), reply_to=reply_to_, text="Hi")

    message = parsed(draft)

    assert mailboxes_in(message, "From") == [sender]
    assert mailboxes_in(message, "To") == to
    assert ("Cc" not in message) if to[1:] == [] else (mailboxes_in(message, "Cc") == to[1:])
    assert ("Reply-To" not in message) if reply_to == [] else (mailboxes_in(message, "Reply-To") == reply_to)
    assert "hidden" not in message.as_string()


@any_mail
@given(subject=lines, given_headers=headers)
def test_every_header_comes_back(subject: str, given_headers: list[tuple[str, str]]) -> None:
    draft = Draft(sender="a@x.example", to=("b@x.example",), subject=subject, text="Hi", headers=dict(given_headers))

    message = parsed(draft)

    assert message["Subject"] == subject
    assert {name: str(message[name]) for name, _ in given_headers} == dict(given_headers)
    assert message["Date"].datetime == DATE


@any_mail
@given(text=st.none() | texts, html=texts, files=st.lists(attachments, max_size=4))
def test_every_part_comes_back(text: str | None, html: str, files: list[Attachment]) -> None:
    shown = [file for number, file in enumerate(files) if file.content_id is not None and number % 2]
    html += "".join(f'<img src="cid:{quote(str(file.content_id), safe="")}">' for file in shown)
    inline = [file for file in files if file.content_id in {each.content_id for each in shown}]

    message = parsed(Draft(sender="a@x.example", to=("b@x.example",), text=text, html=html, attachments=tuple(files)))

    assert text is None or content_of(message, "plain") == lines_of(text)
    assert content_of(message, "html") == lines_of(html)
    parts = [part for part in message.walk() if part.get_content_disposition() is not None]
    assert [file_of(part) for part in parts if part.get_content_disposition() == "inline"] == list(map(file_given, inline))
    assert [file_of(part) for part in parts if part.get_content_disposition() == "attachment"] == [
        file_given(file) for file in files if file not in inline
    ]
