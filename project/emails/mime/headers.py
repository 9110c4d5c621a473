"""Header fields: what may be written into them, and how (RFC 5322 section 2.2, RFC 2047). Pure.

Python's own folding encodes the commas between addresses (CVE-2025-1795), loses the quotes of long names, and splits at
characters that are no line ends. So the lines are made here.
"""

import re
from collections.abc import Iterable, Iterator
from email.charset import Charset
from functools import lru_cache

MAX_LINE_LENGTH = 998  # RFC 5322 section 2.1.1: no line may be longer
FOLD_WIDTH = 76  # RFC 2047 section 2: nor one with an encoded word, nor one of quoted-printable
MAX_UNENCODED_NAME = 60  # a longer name or file name is encoded, since it could not be folded
UTF8 = Charset("utf-8")

_RESERVED = re.compile(
    "from|sender|to|cc|bcc|reply-to|subject|date|message-id|mime-version|dkim-signature|received|return-path"
    "|authentication-results|content-.*|arc-.*|resent-.*",
    re.IGNORECASE | re.DOTALL,
)
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?.*?\?=", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r"""[^\s<>()\[\],;:"\\@]+@[^\s<>()\[\],;:"\\@]+""", re.ASCII)


def is_reserved_header(name: str) -> bool:
    """Whether the service alone writes this header."""
    return _RESERVED.fullmatch(name) is not None


def check_header(name: str, value: str) -> None:
    """Raise ValueError, which says why, for a header that a sender may not set."""
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError("A header's name is 1 to 76 printable ASCII characters without a space or colon.")
    if is_reserved_header(name):
        raise ValueError(f"The header {name} is set by the service.")
    if len(value) > MAX_LINE_LENGTH:
        raise ValueError(f"The value of the header {name} is longer than {MAX_LINE_LENGTH} characters.")
    check_line(value)


def check_line(text: str) -> str:
    """The text, if it is one line: what would start a header of its own is a ValueError."""
    for character, its_name in (("\r", "a carriage return"), ("\n", "a line feed"), ("\0", "a NUL")):
        if character in text:
            raise ValueError(f"The text must be one line, and has {its_name}.")
    return check_text(text)


def check_text(text: str) -> str:
    """The text, if it is Unicode: half a surrogate pair, which JSON can carry and UTF-8 cannot, is a ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The character at {error.start} is half a surrogate pair.") from None
    return text


def fold(name: str, words: Iterable[str]) -> str:
    """The value, in lines of up to 76 characters where its words allow it."""
    value, width = "", len(name) + 1
    for word in words:
        # Never before the first: some readers take the space of the fold for a part of the value.
        if value and width + 1 + len(word) > FOLD_WIDTH:
            value, width = f"{value}\r\n {word}", 1 + len(word)
        else:
            value, width = f"{value} {word}" if value else word, width + 1 + len(word)
    return value


def encode_words(name: str, value: str, *, longest: int) -> list[str]:
    """A value's words: as they are, if they are ASCII and none is longer than `longest` beside the name, else encoded."""
    words, beside = value.split(" "), len(f"{name}: ")
    if WORDS.fullmatch(value) and not ENCODED_WORD.search(value) and beside + max(map(len, words)) <= longest:
        return words
    return _encode(value, size=max(9, min(39, (FOLD_WIDTH - beside - 12) // 4 * 3)))  # in base64, =?utf-8?b?...?= around it


def _encode(text: str, *, size: int = 39) -> list[str]:
    return [UTF8.header_encode(chunk) for chunk in split_octets(text, size)]


def split_octets(text: str, size: int) -> Iterator[str]:
    """Pieces of so many octets; a character is never cut (RFC 2047 section 5)."""
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
    """The value of a field that holds addresses."""
    mailboxes = [_format_mailbox(address) for address in addresses]
    for words in mailboxes[:-1]:
        words[-1] += ","
    return fold(name, (word for words in mailboxes for word in words))


def _format_mailbox(address: str) -> list[str]:
    name, spec = split_mailbox(address)
    return [*_phrase(name), f"<{spec}>"] if name else [spec]


@lru_cache(maxsize=4096)  # a mail's sender and recipients are looked at for its headers, its envelope and its Message-ID
def split_mailbox(address: str) -> tuple[str, str]:
    """The name and the address of `Name <a@b>`. Raises ValueError."""
    text = check_line(address).strip()
    name, bracket, spec = text[:-1].rpartition("<") if text.endswith(">") else ("", "<", text)
    if not (bracket and spec.isascii() and _ADDRESS.fullmatch(spec)):
        raise ValueError("An address is a@b or Name <a@b>, with a@b in ASCII.")
    name = name.strip()
    quoted = _QUOTED.fullmatch(name)
    return (re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else name), spec


def _phrase(name: str) -> list[str]:
    fits = len(name) <= MAX_UNENCODED_NAME and not ENCODED_WORD.search(name)
    if fits and _ATOMS.fullmatch(name):
        return name.split(" ")
    if fits and WORDS.fullmatch(name):
        return [quote_string(name)]
    return _encode(name)  # at most 64 characters each, which fit beside `Reply-To: `


def quote_string(text: str) -> str:
    """As a quoted string."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def addr_spec(address: str) -> str:
    """The `a@b` of `Name <a@b>`."""
    return split_mailbox(address)[1]
