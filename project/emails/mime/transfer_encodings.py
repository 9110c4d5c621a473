"""Content transfer encodings of message parts: quoted-printable and Base64 (RFC 2045 section 6). Pure.

Long texts are encoded in pieces, so that other threads can run meanwhile.
"""

import binascii
from collections.abc import Iterator

from project.emails.mime.headers import FOLD_WIDTH, check_text
from project.emails.mime.pieces import PIECE_LENGTH, pieces

_BASE64_PIECE = PIECE_LENGTH // 57 * 57  # bytes; 57 bytes become one line of 76 characters


def encode_text(text: str) -> tuple[str, bytes]:
    """Return the name of the encoding that suits the text, and the encoded text. Its lines end with CRLF. Raises ValueError."""
    lines = [piece.encode() for piece in _with_crlf(check_text(text))]
    if _is_mostly_ascii(text):
        encoded = b"".join(map(_quoted_printable, lines))
        if len(encoded) <= 2 * sum(map(len, lines)) + FOLD_WIDTH:  # many equals signs: each takes three characters
            return "quoted-printable", encoded
    return "base64", encode_base64(b"".join(lines))


def encode_base64(content: bytes) -> bytes:
    """Return the content in Base64, in lines that end with CRLF."""
    starts = range(0, len(content), _BASE64_PIECE)
    return b"".join([_base64_lines(content[start : start + _BASE64_PIECE]) for start in starts])


def _with_crlf(text: str) -> Iterator[str]:
    """Yield pieces of the text with CRLF as line ends. A piece ends with CRLF unless its last line is too long for one piece."""
    # Not str.splitlines(), because it also splits at characters that are not line ends in SMTP.
    start = 0
    while start == 0 or start < len(text):
        end = start + PIECE_LENGTH
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
            end += text[end - 1 : end + 1] == "\r\n"
        piece = text[start:end].replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
        yield piece if end < len(text) or piece.endswith("\r\n") else f"{piece}\r\n"
        start = end


def _is_mostly_ascii(text: str) -> bool:
    if text.isascii():
        return True
    ascii_octets = sum(len(piece.encode("ascii", "ignore")) for piece in pieces(text))
    return 3 * ascii_octets > 2 * sum(len(piece.encode()) for piece in pieces(text))


def _quoted_printable(lines: bytes) -> bytes:
    if lines.endswith(b"\r\n"):
        return binascii.b2a_qp(lines)
    encoded = binascii.b2a_qp(lines + b"\r\n")[:-2]
    if encoded.endswith((b"=20", b"=09")):  # the function leaves no space on the line for the equals sign of a soft line break
        return encoded[:-3] + b"=\r\n" + encoded[-3:] + b"=\r\n"
    return encoded + b"=\r\n"


def _base64_lines(content: bytes) -> bytes:
    encoded = binascii.b2a_base64(content, newline=False)
    return b"".join([encoded[start : start + FOLD_WIDTH] + b"\r\n" for start in range(0, len(encoded), FOLD_WIDTH)])
