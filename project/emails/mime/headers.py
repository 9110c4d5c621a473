"""Header fields: how they are checked, encoded and folded (RFC 5322 section 2.2, RFC 2047). Pure.

Python's own folding encodes the commas between addresses (CVE-2025-1795), loses the quotes of long names, and splits at
characters that are not line ends. So this module folds and encodes the lines itself.
"""

import re
from collections.abc import Iterable, Iterator
from email.charset import Charset
from functools import lru_cache

from project.config.displayed_text import reject_misleading_characters
from project.emails.mime.pieces import PIECE_LENGTH, pieces

MAX_LINE_LENGTH = 998  # characters; RFC 5322 section 2.1.1
FOLD_WIDTH = 76  # maximum characters of a line with an encoded word (RFC 2047 section 2), and of a quoted-printable line
MAX_UNENCODED_NAME = 60  # characters; a longer display name or file name is encoded, because it could not be folded
UTF8 = Charset("utf-8")

ASCII_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?.*?\?=", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r"""(?:[^\s<>()\[\],;:"\\@]+|"[ !#-;=?-\[\]-~]+")@[^\s<>()\[\],;:"\\@]+""", re.ASCII)


def check_line(text: str) -> str:
    """Return the text if it is a single line. Raises ValueError for a character that could start another header."""
    if text.isascii() and text.isprintable():  # nearly all texts
        return text
    for character, description in (("\r", "a carriage return"), ("\n", "a line feed"), ("\0", "a NUL character")):
        if character in text:
            raise ValueError(f"The text must be a single line, but contains {description}.")
    return check_text(text)


def check_text(text: str) -> str:
    """Return the text if UTF-8 can encode it. Raises ValueError for an unpaired surrogate, which a JSON string can contain."""
    if text.isascii():
        return text
    for number, piece in enumerate(pieces(text)):
        try:
            piece.encode()
        except UnicodeEncodeError as error:
            position = number * PIECE_LENGTH + error.start
            raise ValueError(f"The character at position {position} is an unpaired surrogate.") from None
    return text


def check_displayed(text: str) -> str:
    """Return the text if it is a single line without characters that could make it look like other text. Raises ValueError."""
    return reject_misleading_characters(check_line(text))


def fold(name: str, words: Iterable[str]) -> str:
    """Join the words of a header's value, folded into lines of up to 76 characters where the words allow it."""
    value, width = "", len(name) + 1
    for word in words:
        # Never fold before the first word, because some email clients treat the space of the fold as part of the value.
        if value and width + 1 + len(word) > FOLD_WIDTH:
            value, width = f"{value}\r\n {word}", 1 + len(word)
        else:
            value, width = f"{value} {word}" if value else word, width + 1 + len(word)
    return value


def encode_words(name: str, value: str, *, max_length: int) -> list[str]:
    """Split a header's value into words. The words are encoded (RFC 2047) unless the value is ASCII.

    An ASCII value is encoded too if it looks like encoded words, or if the header's name and the longest word together have
    more than `max_length` characters.
    """
    words, prefix_length = value.split(" "), len(f"{name}: ")
    if ASCII_WORDS.fullmatch(value) and not ENCODED_WORD.search(value) and prefix_length + max(map(len, words)) <= max_length:
        return words
    return _encode(value, size=max(9, min(39, (FOLD_WIDTH - prefix_length - 12) // 4 * 3)))  # base64 within =?utf-8?b?...?=


def _encode(text: str, *, size: int = 39) -> list[str]:
    return [UTF8.header_encode(chunk) for chunk in split_octets(text, size)]


def split_octets(text: str, size: int) -> Iterator[str]:
    """Split the text into chunks of up to `size` octets in UTF-8, never within a character (RFC 2047 section 5)."""
    chunk, length = "", 0
    for character in text:
        octets = len(character.encode())
        if length + octets > size:
            yield chunk
            chunk, length = "", 0
        chunk, length = chunk + character, length + octets
    if chunk:
        yield chunk


def format_address_list(name: str, addresses: tuple[str, ...]) -> str:
    """Return the folded value of a header that lists addresses. Raises ValueError."""
    mailboxes = [_format_mailbox(address) for address in addresses]
    for words in mailboxes[:-1]:
        words[-1] += ","
    return fold(name, (word for words in mailboxes for word in words))


def _format_mailbox(address: str) -> list[str]:
    name, spec = split_mailbox(address)
    return [*format_phrase(name), f"<{spec}>"] if name else [spec]


@lru_cache(maxsize=4096)  # an address is parsed again for the headers, the envelope and the Message-ID
def split_mailbox(address: str) -> tuple[str, str]:
    """Return the display name and the bare address of `Name <a@b>` or `a@b`. Raises ValueError."""
    text = check_line(address).strip()
    name, bracket, spec = text[:-1].rpartition("<") if text.endswith(">") else ("", "<", text)
    if not (bracket and spec.isascii() and _ADDRESS.fullmatch(spec)):
        raise ValueError("An address must be a@b or Name <a@b>, with a@b in ASCII.")
    name = name.strip()
    quoted = _QUOTED.fullmatch(name)
    return (re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else name), spec


def format_phrase(name: str) -> list[str]:
    """Return the words of a display name: plain, quoted or encoded."""
    fits = len(name) <= MAX_UNENCODED_NAME and not ENCODED_WORD.search(name)
    if fits and _ATOMS.fullmatch(name):
        return name.split(" ")
    if fits and ASCII_WORDS.fullmatch(name):
        return [quote_string(name)]
    return _encode(name)  # at most 64 characters per word, so that each word fits on a line with `Reply-To: `


def quote_string(text: str) -> str:
    """Return the text as a quoted string (RFC 5322 section 3.2.4)."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def addr_spec(address: str) -> str:
    """Return the bare address `a@b` of `Name <a@b>` or `a@b`. Raises ValueError."""
    return split_mailbox(address)[1]
