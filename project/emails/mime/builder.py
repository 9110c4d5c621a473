"""MIME builder: turns a draft into the message bytes that a relay receives (RFC 5322, RFC 2045 to 2049). Pure."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from html import unescape
from urllib.parse import quote, unquote

from project.emails.mime.calendar_parts import is_invitation, with_charset
from project.emails.mime.content_types import DEFAULT_CONTENT_TYPE, content_type_of
from project.emails.mime.css_inliner import inline_css
from project.emails.mime.custom_headers import format_header
from project.emails.mime.headers import (
    ASCII_WORDS,
    ENCODED_WORD,
    FOLD_WIDTH,
    MAX_LINE_LENGTH,
    MAX_UNENCODED_NAME,
    addr_spec,
    check_line,
    check_text,
    encode_words,
    fold,
    format_address_list,
    quote_string,
    split_octets,
)
from project.emails.mime.html_to_text import html_to_text
from project.emails.mime.pieces import PIECE_LENGTH
from project.emails.mime.transfer_encodings import encode_base64, encode_text

MAX_MESSAGE_ID_LENGTH = 250  # characters, without the angle brackets
_MESSAGE_ID = re.compile(f"[!-;=?-~]{{1,{MAX_MESSAGE_ID_LENGTH}}}")
# The pattern avoids \w, because it is also published in JSON Schema, where \w may match non-ASCII letters.
MEDIA_TYPE = (
    r"([a-zA-Z0-9_!#$&^.+-]{1,127})/[a-zA-Z0-9_!#$&^.+-]{1,127}"
    r'(?:; ?[a-zA-Z0-9_-]+=(?:[a-zA-Z0-9_.+-]+|"[ !#-\[\]-~]*"))*'
)
MAX_MEDIA_TYPE_LENGTH = MAX_LINE_LENGTH // 2
_MEDIA_TYPE = re.compile(MEDIA_TYPE)
_CID_URL = re.compile(r"""\bcid:([^\s"'<>)]+)""", re.IGNORECASE)
MAX_CID_URL_LENGTH = 4096  # characters of a URL, with entities and percent-encoding


@dataclass(frozen=True)
class Attachment:
    """An attached file. If the HTML refers to its `content_id` as `cid:…`, the file is an inline image.

    Without a content type, the file name decides. `text/calendar` with a method is an invitation.
    """

    filename: str
    content: bytes
    content_type: str | None = None
    content_id: str | None = None

    @property
    def media_type(self) -> str:
        """Return the content type, given or derived from the file name."""
        return self.content_type or content_type_of(self.filename, self.content)


@dataclass(frozen=True)
class Draft:
    """The content of an email to build. Addresses have the form `Name <a@b>` or `a@b`."""

    sender: str
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


def build_message(draft: Draft, *, message_id: str, date: datetime) -> bytes:
    """Return the message, ready to send: 7-bit, with CRLF line ends and with lines within the length limit.

    Raises ValueError if the draft cannot be represented as a message.
    """
    for address in draft.bcc:
        addr_spec(address)  # checked like the other addresses, but never written into the message
    head = "".join(f"{name}: {value}\r\n" for name, value in _headers(draft, message_id, _date(date.replace(microsecond=0))))
    return head.encode("ascii") + _body(draft, boundary=hashlib.sha256(message_id.encode()).hexdigest()[:24])


def with_date(content: bytes, date: datetime) -> bytes:
    """Return a built message with its `Date:` header replaced.

    The first line that starts with `Date:` is the header, because a folded line starts with a space.
    """
    return _with_header(content, "Date", _date(date.replace(microsecond=0)))


def with_message_id(content: bytes, message_id: str) -> bytes:
    """Return a built message with its `Message-ID:` header replaced."""
    return _with_header(content, "Message-ID", message_id)


def envelope_recipients(draft: Draft) -> list[str]:
    """Return the recipients of the envelope: the bare addresses of to, cc and bcc, without duplicates. Raises ValueError.

    Addresses that differ only in case are duplicates, as on the suppression list. The first spelling is kept.
    """
    spellings: dict[str, str] = {}
    for address in map(addr_spec, (*draft.to, *draft.cc, *draft.bcc)):
        spellings.setdefault(address.lower(), address)
    return list(spellings.values())


def _with_header(content: bytes, name: str, value: str) -> bytes:
    pattern, line = rf"\r\n{name}: [^\r]*\r\n".encode("ascii"), f"\r\n{name}: {value}\r\n".encode("ascii")
    return re.sub(pattern, lambda _match: line, content, count=1)


_date = lru_cache(format_datetime)  # most calls are for the current second


def _headers(draft: Draft, message_id: str, date: str) -> Iterator[tuple[str, str]]:
    yield "From", format_address_list("From", (draft.sender,))
    for name, addresses in (("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)):
        if addresses:
            yield name, format_address_list(name, addresses)
    subject = check_line(draft.subject)
    yield "Subject", fold("Subject", encode_words("Subject", subject, max_length=FOLD_WIDTH))
    yield "Date", date
    if not (message_id[:1] == "<" and message_id[-1:] == ">" and _MESSAGE_ID.fullmatch(message_id[1:-1])):
        raise ValueError("A Message-ID must be <id@domain> in printable ASCII.")
    yield "Message-ID", message_id
    yield "MIME-Version", "1.0"
    for name, value in draft.headers.items():
        yield name, format_header(name, value)


# A MIME part consists of headers, an empty line and the content. This module writes parts itself, because Python's email
# package spends most of its time searching for line ends to convert.


def _body(draft: Draft, *, boundary: str) -> bytes:
    if draft.text is None and draft.html is None:
        raise ValueError("An email must have a text or an HTML part.")
    inline_ids = _referenced_content_ids(draft.html or "") if draft.attachments else ()
    inline = [each for each in draft.attachments if _content_id(each) in inline_ids]
    others = [each for each in draft.attachments if _content_id(each) not in inline_ids]
    # A message has one invitation, so further ones are files.
    invitation = next((each for each in others if is_invitation(each.media_type)), None)
    if invitation is not None:
        others.remove(invitation)
    attached = [_attachment_part(each, "attachment") for each in others]
    text = html_to_text(draft.html) if draft.text is None and draft.html is not None else draft.text or ""
    body, html = _text_part("plain", text), b""
    if draft.html is not None:
        html = _text_part("html", inline_css(check_text(draft.html)))
        if inline:
            html = _multipart(
                "related", [html, *(_attachment_part(each, "inline") for each in inline)], boundary, '\r\n type="text/html";'
            )
    alternatives = [body, *([html] if html else []), *([_invitation_part(invitation)] if invitation else [])]
    body = _multipart("alternative", alternatives, boundary) if len(alternatives) > 1 else body
    return _multipart("mixed", [body, *attached], boundary) if attached else body


def _multipart(subtype: str, parts: list[bytes], boundary: str, parameters: str = "") -> bytes:
    # `=_` occurs in neither quoted-printable nor base64, so no part can contain the boundary (RFC 2045 section 6.7).
    boundary = f"=_{subtype}_{boundary}"
    first = f'Content-Type: multipart/{subtype};{parameters}\r\n boundary="{boundary}"\r\n\r\n--{boundary}\r\n'
    between, last = f"\r\n--{boundary}\r\n", f"\r\n--{boundary}--\r\n"
    return b"".join([first.encode("ascii"), between.encode("ascii").join(parts), last.encode("ascii")])


def _text_part(subtype: str, text: str) -> bytes:
    encoding, encoded = encode_text(text)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode("ascii") + encoded


def _attachment_part(attachment: Attachment, disposition: str) -> bytes:
    content_type = _checked_media_type(attachment)
    # base64 is not allowed for a message or a multipart (RFC 2045 section 6.4), and no other encoding keeps the octets. So these
    # types are replaced by application/octet-stream.
    composite = content_type.partition("/")[0].lower() in {"message", "multipart"}
    head = f"Content-Type: {DEFAULT_CONTENT_TYPE if composite else content_type}\r\n"
    head += "Content-Transfer-Encoding: base64\r\n"
    head += f"Content-Disposition: {disposition}{_parameter('filename', check_line(attachment.filename))}\r\n"
    if (content_id := _content_id(attachment)) is not None:
        head += f"Content-ID: <{content_id}>\r\n"
    return f"{head}\r\n".encode("ascii") + encode_base64(attachment.content)


def _invitation_part(invitation: Attachment) -> bytes:
    name = _parameter("name", check_line(invitation.filename))  # no disposition, as Outlook and Gmail send invitations
    head = f"Content-Type: {with_charset(_checked_media_type(invitation))}{name}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode("ascii") + encode_base64(invitation.content)


def _checked_media_type(attachment: Attachment) -> str:
    content_type = attachment.media_type
    if not _MEDIA_TYPE.fullmatch(content_type) or len(content_type) > MAX_MEDIA_TYPE_LENGTH:
        raise ValueError("A content type must be type/subtype in ASCII.")
    return content_type


def _parameter(name: str, value: str) -> str:
    """Return a parameter of a header field, which is encoded if necessary (RFC 2231). Without a value, return nothing."""
    if not value:
        return ""
    if len(value) <= MAX_UNENCODED_NAME and ASCII_WORDS.fullmatch(value) and not ENCODED_WORD.search(value):
        return f";\r\n {name}={quote_string(value)}"
    pieces = [quote(chunk, safe="") for chunk in split_octets(value, 18)]
    if len(pieces) == 1:
        return f";\r\n {name}*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "".join(f";\r\n {name}*{number}*={piece}" for number, piece in enumerate(pieces))


def _content_id(attachment: Attachment) -> str | None:
    if attachment.content_id is None:
        return None
    content_id = attachment.content_id.removeprefix("<").removesuffix(">")
    if not _MESSAGE_ID.fullmatch(content_id):
        raise ValueError("A content_id must be printable ASCII without spaces.")
    return content_id


def _referenced_content_ids(html: str) -> set[str]:
    ids = set[str]()
    for start in range(0, len(html), PIECE_LENGTH):  # in pieces, so that other threads can run
        end = start + PIECE_LENGTH
        for match in _CID_URL.finditer(html, start, end + MAX_CID_URL_LENGTH):
            if match.start() < end:
                ids.add(unquote(unescape(match[1])))
    return ids
