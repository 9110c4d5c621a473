"""A mail as the bytes that a relay is given (RFC 5322, RFC 2045 to 2049). Pure."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.message import MIMEPart
from email.policy import EmailPolicy
from email.utils import format_datetime
from html import unescape
from urllib.parse import quote, unquote

from project.outbox.headers import (
    ENCODED_WORD,
    LINE,
    NAME_WIDTH,
    WIDTH,
    WORDS,
    address_list,
    check_header,
    check_line,
    check_text,
    chunks,
    folded,
    quoted,
    split_mailbox,
    words_of,
)
from project.outbox.html_text import text_of

_ID = re.compile(r"[!-;=?-~]{1,250}")
_TYPE = re.compile(r"([\w!#$&^.+-]{1,127})/[\w!#$&^.+-]{1,127}(?:; ?[\w-]+=(?:[\w.+-]+|\"[ !#-\[\]-~]*\"))*", re.ASCII)


@dataclass(frozen=True)
class Attachment:
    """A file of a mail; with a `content_id` that the HTML shows as `cid:`, a picture inside it."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str | None = None


@dataclass(frozen=True)
class Draft:
    """What the sender asks for; addresses are `Name <a@b>` or `a@b`."""

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


def build(draft: Draft, *, message_id: str, date: datetime) -> bytes:
    """The mail, ready to be sent: 7 bits, CRLF, no line too long. Raises ValueError for what no mail can hold."""
    for address in draft.bcc:
        bare(address)  # refused like the others, though never written
    root = MIMEPart(policy=_POLICY)
    for name, value in _headers(draft, message_id, format_datetime(date)):
        root[name] = value
    body = _body(draft, boundary=hashlib.sha256(message_id.encode()).hexdigest()[:24])
    for name, value in body.raw_items():
        root[name] = value
    root.set_payload(body.get_payload())
    return root.as_bytes()


def addresses_of(draft: Draft) -> list[str]:
    """The recipients of the envelope, each once."""
    return list(dict.fromkeys(bare(address) for address in (*draft.to, *draft.cc, *draft.bcc)))


def bare(address: str) -> str:
    """The `a@b` of `Name <a@b>`."""
    return split_mailbox(address)[1]


# Headers are folded in project.outbox.headers, and the policy keeps them as they are.


class _AsFolded(EmailPolicy):
    """Writes each header as it was given, and parses none (most of the time it would take)."""

    def header_max_count(self, name: str) -> int | None:
        return None

    def header_store_parse(self, name: str, value: str) -> tuple[str, str]:
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value


_POLICY = _AsFolded(linesep="\r\n", refold_source="none", cte_type="7bit")


def _headers(draft: Draft, message_id: str, date: str) -> Iterator[tuple[str, str]]:
    yield "From", address_list("From", (draft.sender,))
    for name, addresses in (("To", draft.to), ("Cc", draft.cc), ("Reply-To", draft.reply_to)):
        if addresses:
            yield name, address_list(name, addresses)
    subject = check_line(draft.subject)
    yield "Subject", folded("Subject", words_of("Subject", subject, longest=WIDTH))
    yield "Date", date
    if not (message_id[:1] == "<" and message_id[-1:] == ">" and _ID.fullmatch(message_id[1:-1])):
        raise ValueError("A Message-ID is <id@domain> in printable ASCII.")
    yield "Message-ID", message_id
    yield "MIME-Version", "1.0"
    for name, value in draft.headers.items():
        check_header(name, value)
        # A long word may be an address of the web (List-Unsubscribe), which nobody would decode: left as it is if it can be.
        yield name, folded(name, words_of(name, value, longest=LINE))


# Parts


def _body(draft: Draft, *, boundary: str) -> MIMEPart:
    if draft.text is None and draft.html is None:
        raise ValueError("A mail has a text or HTML.")
    shown = _cids(draft.html or "")
    inline = [each for each in draft.attachments if _content_id(each) in shown]
    others = [_file(each, "attachment") for each in draft.attachments if each not in inline]
    text = text_of(draft.html) if draft.text is None and draft.html is not None else draft.text or ""
    body = _text("plain", text)
    if draft.html is not None:
        html = _text("html", draft.html)
        if inline:
            html = _multipart("related", [html, *(_file(each, "inline") for each in inline)], boundary, '\r\n type="text/html";')
        body = _multipart("alternative", [body, html], boundary)
    return _multipart("mixed", [body, *others], boundary) if others else body


def _multipart(subtype: str, parts: list[MIMEPart], boundary: str, more: str = "") -> MIMEPart:
    part = MIMEPart(policy=_POLICY)
    # `=_` is neither quoted-printable nor base64, so no part can hold its boundary (RFC 2045 section 6.7).
    part["Content-Type"] = f'multipart/{subtype};{more}\r\n boundary="=_{subtype}_{boundary}"'
    for each in parts:
        part.attach(each)
    return part


def _text(subtype: str, text: str) -> MIMEPart:
    # str.splitlines() knows more line ends than mail does.
    content = re.sub(r"\r\n|\r|\n", "\r\n", check_text(text)).encode()
    content = content if content.endswith(b"\r\n") else content + b"\r\n"
    part = MIMEPart(policy=_POLICY)
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"'
    mostly_ascii = 3 * len(text.encode("ascii", "ignore")) > 2 * len(content)
    part["Content-Transfer-Encoding"] = "quoted-printable" if mostly_ascii or not text else "base64"
    encoded = binascii.b2a_qp(content) if mostly_ascii or not text else base64.encodebytes(content)
    part.set_payload(encoded.decode("ascii"))
    return part


def _file(attachment: Attachment, disposition: str) -> MIMEPart:
    matched = _TYPE.fullmatch(attachment.content_type)
    if not matched or len(attachment.content_type) > LINE // 2:
        raise ValueError("A content type is type/subtype, in ASCII.")
    part = MIMEPart(policy=_POLICY)
    # base64 is not allowed for a message or a multipart (RFC 2045 section 6.4), and nothing else keeps its octets.
    composite = matched[1].lower() in {"message", "multipart"}
    part["Content-Type"] = "application/octet-stream" if composite else attachment.content_type
    part["Content-Transfer-Encoding"] = "base64"
    part["Content-Disposition"] = disposition + _filename(check_line(attachment.filename))
    if (content_id := _content_id(attachment)) is not None:
        part["Content-ID"] = f"<{content_id}>"
    part.set_payload(base64.encodebytes(attachment.content).decode("ascii"))
    return part


def _filename(name: str) -> str:
    if not name:
        return ""
    if len(name) <= NAME_WIDTH and WORDS.fullmatch(name) and not ENCODED_WORD.search(name):
        return f";\r\n filename={quoted(name)}"
    pieces = [quote(chunk, safe="") for chunk in chunks(name, 18)]  # RFC 2231
    if len(pieces) == 1:
        return f";\r\n filename*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "".join(f";\r\n filename*{number}*={piece}" for number, piece in enumerate(pieces))


def _content_id(attachment: Attachment) -> str | None:
    if attachment.content_id is None:
        return None
    content_id = attachment.content_id.removeprefix("<").removesuffix(">")
    if not _ID.fullmatch(content_id):
        raise ValueError("A content_id is printable ASCII without spaces.")
    return content_id


def _cids(html: str) -> set[str]:
    return {unquote(unescape(cid)) for cid in re.findall(r"""\bcid:([^\s"'<>)]+)""", html, re.IGNORECASE)}
