"""What a mail holds, read from its source (RFC 5322). Pure."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from typing import cast
from urllib.parse import unquote

MAX_INLINE_IMAGE_CHARACTERS = 32 * 1024 * 1024  # characters in one HTML; the pictures of a mail, each once, are fewer
_CID = re.compile(r"""\bcid:([^\s"'<>)]+)""", re.IGNORECASE)


@dataclass(frozen=True)
class MessagePart:
    """An attachment, or a picture of the HTML."""

    name: str
    content_type: str
    content: bytes
    content_id: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)

    def as_url(self) -> str:
        """All of it, as `data:`."""
        return f"data:{self.content_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class ParsedMessage:
    """A mail, taken apart. What it has no text or HTML for is empty."""

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str
    files: tuple[MessagePart, ...]

    def html_with_inline_images(self) -> str:
        """The HTML, with the pictures that came along in it as `data:`, so that it needs nothing else.

        A picture may be in it many times: what would be longer than `PICTURES` in all is left out.
        """
        pictures = {file.content_id: file for file in self.files if file.content_id and file.content_type.startswith("image/")}
        urls = {content_id: file.as_url() for content_id, file in pictures.items()}
        left = MAX_INLINE_IMAGE_CHARACTERS

        def data_of(match: re.Match[str]) -> str:
            nonlocal left
            url = urls.get(unquote(unescape(match[1])))
            if url is None or len(url) > left:
                return match[0]
            left -= len(url)
            return url

        return _CID.sub(data_of, self.html)


def parse_message(source: bytes) -> ParsedMessage:
    """Take a mail apart. Whatever it is, this shows what can be shown of it."""
    mail = message_from_bytes(source, policy=policy.default)
    bodies: dict[str, str] = {}
    files = []
    for part in _leaves(mail):
        kind = part.get_content_type()
        if kind in {"text/plain", "text/html"} and kind not in bodies and not part.is_attachment():
            bodies[kind] = _decode_text(part)
        else:
            content_id = str(part.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
            files.append(MessagePart(part.get_filename() or "", kind, _payload(part), content_id))
    headers = tuple((name, str(value)) for name, value in mail.items())
    return ParsedMessage(headers, bodies.get("text/plain", ""), bodies.get("text/html", ""), tuple(files))


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    if part.get_content_maintype() == "multipart":
        for each in part.iter_parts():
            yield from _leaves(cast("EmailMessage", each))
    else:
        yield part


def _payload(part: EmailMessage) -> bytes:
    if part.is_multipart():  # a mail within the mail
        return b"".join(each.as_bytes() for each in cast("list[EmailMessage]", part.get_payload()))
    return cast("bytes", part.get_payload(decode=True))


def _decode_text(part: EmailMessage) -> str:
    content, charset = _payload(part), part.get_content_charset("utf-8")
    try:
        return content.decode(charset, errors="replace")
    except LookupError:
        return content.decode(errors="replace")
