"""The MIME builder, checked with Python's own parser."""

import email
import email.policy
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest

from project.emails.mime.builder import Attachment, Draft, build_message, with_date
from project.emails.mime.headers import check_line, check_text

DATE = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
MESSAGE_ID = "<0193@example.com>"
DRAFT = Draft(sender="Shop <shop@example.com>", to=("ada@example.com",), subject="Hello", text="Hi")
SURROGATE = "\ud83d"

LINES = [
    "",
    "Hello",
    "Grüße 🎉 👩‍👩‍👧",
    "שלום עולם\u200f مرحبا",
    "w" * 5_000,
    "漢" * 5_000,
    'two  spaces, and (a) "quoted" back\\slash',
    "=?utf-8?q?not_encoded?=",
    "a =?utf-8?b?eHg=?= b",
    "1 = 2; 3 =3D",
    "a\u2028b\x85c\x0bd\x1ce",
]
BODIES = [
    *LINES,
    ".",
    "..\n.\n...\n.hidden",
    "From here\n>From there\n\nFrom the end",
    "trailing  \nand a tab\t\n \n\t",
    "a\r\nb\rc\n\r\nd\n\re\r\r\n",
    "ж.\n" * 400,
    ("x" * 75 + " \n") * 3 + "y" * 76 + "\n" + "z" * 74 + "é",
    "--=_mixed_1\n--=_alternative",
    "\n\n\nend\n\n",
]
SUBJECTS = [*LINES, "日本語 " * 499 + "終わり", "Größe " * 300 + "x", "word " * 400 + "end", " padded ", "tab\there"]
NAMES = [
    "Doe, Jane",
    'Ada "the first" Lovelace',
    "Ada (home)",
    "back\\slash",
    "O'Neil; a@b: <c>",
    "J. R. R. Tolkien",
    "Zoë",
    "Müller, Hans",
    "שלום עולם",
    "🎉",
    "=?utf-8?q?x?=",
]
LONG_NAMES = [
    "a  b",
    "A rather long name, with a comma, that is longer than sixty x",
    "Zoë " * 60 + "x",
    "漢" * 300,
    "w" * 5_000,
    "comma, " * 100 + "x",
]
FILENAMES = [
    "a.pdf",
    "two words.pdf",
    'quo"te;semi.pdf',
    "back\\slash.pdf",
    "Rechnung März.pdf",
    "請求書" * 50 + ".pdf",
    "🎉.png",
    "n" * 300 + ".txt",
    "it's 100%.txt",
    "=?utf-8?q?x?=.txt",
    "tab\t.txt",
]


def parsed(draft: Draft) -> EmailMessage:
    """Build and parse the message, and check that every relay can transmit its bytes."""
    raw = build_message(draft, message_id=MESSAGE_ID, date=DATE)
    assert max(raw) < 128
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


def lines_of(text: str) -> list[str]:
    lines = re.split(r"\r\n|\r|\n", text)
    return lines[:-1] if lines[-1] == "" else lines


def text_in(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def shape(message: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in message.walk()]


# Headers


def test_writes_the_headers_in_order_and_no_bcc() -> None:
    draft = replace(DRAFT, cc=("c@x.example",), bcc=("hidden@x.example",), reply_to=("r@x.example",), headers={"X-Order": "42"})

    message = parsed(draft)

    names = "From To Cc Reply-To Subject Date Message-ID MIME-Version X-Order Content-Type Content-Transfer-Encoding"
    assert message.keys() == names.split(" ")
    assert "hidden" not in message.as_string()


@pytest.mark.parametrize("text", ["Hi", "Date: Tue, 01 Dec 2026 09:00:00 +0000\r\n\r\nDate: x"])
def test_with_date_changes_only_the_date(text: str) -> None:
    draft = replace(DRAFT, subject="Date: none " * 20, headers={"X-Date": "Date: none"}, text=text)
    later = DATE.replace(day=31, microsecond=1)

    redated = with_date(build_message(draft, message_id=MESSAGE_ID, date=DATE), later)

    assert redated == build_message(draft, message_id=MESSAGE_ID, date=later)
    assert email.message_from_bytes(redated).get_all("Date") == ["Thu, 31 Dec 2026 09:00:00 +0000"]


def test_has_the_given_date_and_message_id() -> None:
    message = parsed(DRAFT)

    assert message["Date"].datetime == DATE
    assert message["Message-ID"] == MESSAGE_ID


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_survives_the_round_trip(subject: str) -> None:
    message = parsed(replace(DRAFT, subject=subject))

    assert message["Subject"] == subject


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_is_folded(subject: str) -> None:
    raw = build_message(replace(DRAFT, subject=subject), message_id=MESSAGE_ID, date=DATE)

    assert max(map(len, raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 76


@pytest.mark.parametrize("name", NAMES)
def test_a_name_survives_the_round_trip(name: str) -> None:
    message = parsed(replace(DRAFT, sender=f"{name} <a@b.example>", to=(f"{name} <c@d.example>", "e@f.example") * 20))

    assert [(each.display_name, each.addr_spec) for each in message["From"].addresses] == [(name, "a@b.example")]
    assert [(each.display_name, each.addr_spec) for each in message["To"].addresses] == [
        (name, "c@d.example"),
        ("", "e@f.example"),
    ] * 20


@pytest.mark.parametrize("name", LONG_NAMES)
def test_a_long_name_survives_the_round_trip(name: str) -> None:
    raw = build_message(replace(DRAFT, sender=f"{name} <a@b.example>"), message_id=MESSAGE_ID, date=DATE)

    # Python's newer parser inserts spaces into such a name, but the older parser decodes the name correctly.
    decoded = str(make_header(decode_header(email.message_from_bytes(raw)["From"])))
    assert decoded == f"{name} <a@b.example>"


def test_unquotes_a_quoted_name() -> None:
    message = parsed(replace(DRAFT, sender='"Doe, \\"J\\" Jane" <a@b.example>'))

    assert message["From"].addresses[0].display_name == 'Doe, "J" Jane'


# Text and HTML


@pytest.mark.parametrize("text", BODIES)
def test_a_text_survives_the_round_trip(text: str) -> None:
    message = parsed(replace(DRAFT, text=text))

    assert shape(message) == ["text/plain"]
    assert lines_of(text_in(message)) == (lines_of(text) or [""])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "quoted-printable"),
        ("H", "quoted-printable"),
        ("Hi", "quoted-printable"),
        ("aé", "base64"),
        ("Zoë", "base64"),
        ("=" * 500, "base64"),
    ],
)
def test_encodes_a_mostly_ascii_text_as_quoted_printable(text: str, encoding: str) -> None:
    raw = build_message(replace(DRAFT, text=text), message_id=MESSAGE_ID, date=DATE)

    assert email.message_from_bytes(raw)["Content-Transfer-Encoding"] == encoding


@pytest.mark.parametrize("text", BODIES)
def test_text_and_html_become_alternatives(text: str) -> None:
    message = parsed(replace(DRAFT, text=text, html=f"<p>{text}</p>"))

    assert shape(message) == ["multipart/alternative", "text/plain", "text/html"]
    assert lines_of(text_in(message)) == (lines_of(text) or [""])
    assert lines_of(text_in(message, "html")) == lines_of(f"<p>{text}</p>")


def test_generates_a_text_for_html() -> None:
    message = parsed(replace(DRAFT, text=None, html="<h1>Hello</h1><p>Ada &amp; all</p>"))

    assert shape(message) == ["multipart/alternative", "text/plain", "text/html"]
    assert lines_of(text_in(message)) == ["Hello", "", "Ada & all"]


# Attachments


@pytest.mark.timeout(10)
def test_many_files_with_one_content_id_take_linear_time() -> None:
    files = tuple(Attachment(f"{number}", b"", content_id="a") for number in range(30_000))

    assert build_message(replace(DRAFT, html='<img src="cid:a">', attachments=files), message_id=MESSAGE_ID, date=DATE)


@pytest.mark.parametrize("filename", FILENAMES)
def test_an_attachment_survives_the_round_trip(filename: str) -> None:
    content = bytes(range(256)) * 10

    message = parsed(replace(DRAFT, attachments=(Attachment(filename, content, "application/pdf"),)))

    (part,) = message.iter_attachments()
    assert shape(message) == ["multipart/mixed", "text/plain", "application/pdf"]
    assert (part.get_filename(), part.get_content_disposition()) == (filename, "attachment")
    assert part.get_payload(decode=True) == content


@pytest.mark.parametrize("content", [b"", b"\r", b"a\nb\r\n", b".\r\n"])
@pytest.mark.parametrize("content_type", ["text/plain", 'text/csv; charset="utf-8"', "application/octet-stream"])
def test_an_attachment_keeps_its_octets(content: bytes, content_type: str) -> None:
    message = parsed(replace(DRAFT, attachments=(Attachment("a", content, content_type),)))

    (part,) = message.iter_attachments()
    assert part.get_payload(decode=True) == content


def test_an_inline_image_is_related_to_the_html() -> None:
    images = (Attachment("l.png", b"1", "image/png", "logo@x"), Attachment("b.png", b"2", "image/png", "other"))

    message = parsed(replace(DRAFT, html='<img src="cid:logo%40x">', attachments=images))

    assert shape(message) == [
        *("multipart/mixed", "multipart/alternative", "text/plain"),
        *("multipart/related", "text/html", "image/png", "image/png"),
    ]
    inline, attached = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (inline["Content-ID"], inline.get_content_disposition()) == ("<logo@x>", "inline")
    assert (attached["Content-ID"], attached.get_content_disposition()) == ("<other>", "attachment")


INVITATION = Attachment("invite.ics", b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n", "text/calendar; method=REQUEST")


@pytest.mark.parametrize("html", [None, "<p>Hi</p>"])
def test_an_invitation_is_the_last_alternative(html: str | None) -> None:
    message = parsed(replace(DRAFT, html=html, attachments=(INVITATION,)))

    *_, part = message.walk()
    assert shape(message) == ["multipart/alternative", "text/plain", *(["text/html"] if html else []), "text/calendar"]
    assert (part.get_param("method"), part.get_param("charset"), part.get_filename()) == ("REQUEST", "utf-8", "invite.ics")
    assert (part.get_content_disposition(), part.get_payload(decode=True)) == (None, INVITATION.content)


def test_an_invitation_stands_beside_files_and_inline_images() -> None:
    files = (Attachment("l.png", b"1", content_id="logo"), INVITATION, Attachment("a.pdf", b"2"), INVITATION)

    message = parsed(replace(DRAFT, html='<img src="cid:logo">', attachments=files))

    assert shape(message) == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"),
        *("text/calendar", "application/pdf", "text/calendar"),
    ]


def test_a_calendar_without_a_method_is_a_file() -> None:
    message = parsed(replace(DRAFT, attachments=(Attachment("a.ics", b"BEGIN:VCALENDAR"),)))

    (part,) = message.iter_attachments()
    assert (part.get_content_type(), part.get_content_disposition(), part.get_filename()) == (
        "text/calendar",
        "attachment",
        "a.ics",
    )


@pytest.mark.parametrize("content_type", ["message/rfc822", "multipart/mixed", "Message/Partial"])
def test_an_attached_message_is_sent_as_octets(content_type: str) -> None:
    message = parsed(replace(DRAFT, attachments=(Attachment("a.eml", b"Subject: x\n\ny", content_type),)))

    (part,) = message.iter_attachments()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_payload(decode=True) == b"Subject: x\n\ny"


# Errors


@pytest.mark.parametrize(
    "draft",
    [
        replace(DRAFT, text=None),
        replace(DRAFT, text=SURROGATE),
        replace(DRAFT, html=SURROGATE),
        replace(DRAFT, subject=SURROGATE),
        replace(DRAFT, subject="a\r\nBcc: b@c.example"),
        replace(DRAFT, sender=f"{SURROGATE} <a@b.example>"),
        replace(DRAFT, sender="A\n <a@b.example>"),
        replace(DRAFT, to=("a@b.example, c@d.example",)),
        replace(DRAFT, to=("a@bücher.example",)),
        replace(DRAFT, bcc=("nobody",)),
        replace(DRAFT, headers={"Bcc": "a@b.example"}),
        replace(DRAFT, headers={"X-A": "a\nb"}),
        replace(DRAFT, headers={"X-A": SURROGATE}),
        replace(DRAFT, attachments=(Attachment("a\r\nb", b""),)),
        replace(DRAFT, attachments=(Attachment(SURROGATE, b""),)),
        replace(DRAFT, attachments=(Attachment("a", b"", "text/plain\r\nX: y"),)),
        replace(DRAFT, attachments=(Attachment("a", b"", "text"),)),
        replace(DRAFT, attachments=(Attachment("a", b"", "image/png", "a b"),)),
    ],
)
def test_rejects_a_draft_that_no_message_can_carry(draft: Draft) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_message(draft, message_id=MESSAGE_ID, date=DATE)


@pytest.mark.parametrize("message_id", ["", "a@b", "<>", "<a b@c>", "<a@b>\r\nX: y", "<ä@b>"])
def test_rejects_an_invalid_message_id(message_id: str) -> None:
    with pytest.raises(ValueError, match="Message-ID"):
        build_message(DRAFT, message_id=message_id, date=DATE)


@pytest.mark.parametrize("text", LINES)
def test_returns_a_valid_line_unchanged(text: str) -> None:
    assert check_line(text) == check_text(text) == text
