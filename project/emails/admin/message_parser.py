"""Message parser: extracts the text, HTML, attachments and headers of a raw message (RFC 5322). Pure."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from typing import cast
from urllib.parse import unquote

MAX_INLINE_IMAGE_CHARACTERS = 32 * 1024 * 1024  # of all `data:` URLs in one HTML part; enough to show each image once
_CID = re.compile(r"""\bcid:([^\s"'<>)]+)""", re.IGNORECASE)


@dataclass(frozen=True)
class MessagePart:
    """An attachment or inline image of a message."""

    name: str
    content_type: str
    content: bytes
    content_id: str = ""

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return len(self.content)

    def as_url(self) -> str:
        """Return the content as a `data:` URL."""
        return f"data:{self.content_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class ParsedMessage:
    """The parts of a message. `text` and `html` are empty if the message has no such part."""

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str
    attachments: tuple[MessagePart, ...]

    def html_with_inline_images(self) -> str:
        """Return the HTML with its `cid:` images as `data:` URLs, so that a browser needs no other request to show them.

        All `data:` URLs together have at most `MAX_INLINE_IMAGE_CHARACTERS`, because the HTML may use an image many times.
        Images beyond this limit keep their `cid:` URLs.
        """
        images = {
            part.content_id: part for part in self.attachments if part.content_id and part.content_type.startswith("image/")
        }
        urls = {content_id: image.as_url() for content_id, image in images.items()}
        characters_left = MAX_INLINE_IMAGE_CHARACTERS

        def replace_cid(match: re.Match[str]) -> str:
            nonlocal characters_left
            url = urls.get(unquote(unescape(match[1])))
            if url is None or len(url) > characters_left:
                return match[0]
            characters_left -= len(url)
            return url

        return _CID.sub(replace_cid, self.html)


def parse_message(raw: bytes) -> ParsedMessage:
    """Parse a raw message. Never raises. For a malformed message, return the readable parts."""
    message = message_from_bytes(raw, policy=policy.default)
    bodies: dict[str, str] = {}
    attachments = []
    for part in _leaves(message):
        content_type = part.get_content_type()
        if content_type in {"text/plain", "text/html"} and content_type not in bodies and not part.is_attachment():
            bodies[content_type] = _decode_text(part)
        else:
            content_id = str(part.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
            attachments.append(MessagePart(part.get_filename() or "", content_type, _payload(part), content_id))
    headers = tuple((name, str(value)) for name, value in message.items())
    return ParsedMessage(headers, bodies.get("text/plain", ""), bodies.get("text/html", ""), tuple(attachments))


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    if part.get_content_maintype() == "multipart":
        for each in part.iter_parts():
            yield from _leaves(cast("EmailMessage", each))
    else:
        yield part


def _payload(part: EmailMessage) -> bytes:
    if part.is_multipart():  # a message within the message (message/rfc822)
        return b"".join(each.as_bytes() for each in cast("list[EmailMessage]", part.get_payload()))
    return cast("bytes", part.get_payload(decode=True))


def _decode_text(part: EmailMessage) -> str:
    content, charset = _payload(part), part.get_content_charset("utf-8")
    try:
        return content.decode(charset, errors="replace")
    except LookupError:
        return content.decode(errors="replace")
