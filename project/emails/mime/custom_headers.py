"""Custom headers: which headers a caller may set, and how their values are normalized and written (RFC 5322, RFC 2047). Pure."""

import re
from collections.abc import Callable, Mapping

import idna
from django.utils.encoding import iri_to_uri

from project.emails.mime.email_addresses import parse_mailboxes
from project.emails.mime.headers import MAX_LINE_LENGTH, check_displayed, encode_words, fold, format_address_list, format_phrase
from project.emails.mime.relay_headers import is_relay_header

MAX_HEADER_LENGTH = 16_384  # characters of one value; a long thread has References of some thousand characters
MAX_ADDRESSES = 50
MAX_HEADERS_BYTES = 32_768  # of all names and values together; Postfix accepts 100 KB of headers, encoded

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_RESERVED = re.compile(
    "from|sender|to|cc|bcc|reply-to|subject|date|message-id|mime-version|dkim-signature|received|return-path"
    "|authentication-results|content-.*|arc-.*|resent-.*",
    re.IGNORECASE | re.DOTALL,
)
# Programs read these values. They do not decode encoded words in ids and URLs (RFC 2047 section 5).
_ID_HEADERS = {
    "in-reply-to",
    "references",
    "original-message-id",
    "supersedes",
    "obsoletes",
    "thread-index",
    "list-unsubscribe-post",
    "auto-submitted",
    "precedence",
    "feedback-id",
}
_URL_HEADERS = re.compile("list-.*|archived-at|link|x-report-abuse.*|x-complaints-to|x-abuse-.*|x-csa-complaints")
# Words that programs read, or phrases between commas. People read only the comments and phrases.
_WORD_HEADERS = {
    "accept-language",
    "importance",
    "keywords",
    "priority",
    "sensitivity",
    "user-agent",
    "x-auto-response-suppress",
    "x-mailer",
    "x-msmail-priority",
    "x-priority",
}
_ADDRESS_HEADERS = {"disposition-notification-to", "mail-followup-to", "mail-reply-to"}
_BRACKETS = re.compile("<([^<>]*)>")
_URL = re.compile("[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_URL_IN_TEXT = re.compile(r'\b(?:https?://|mailto:)[^\s<>"]+', re.IGNORECASE)
_BETWEEN_URLS = re.compile(r"(,\s+)(?=[a-z][a-z0-9+.-]*:)", re.IGNORECASE)
# The part of a URL before its host, and the host.
_AUTHORITY = re.compile(r"([a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?|mailto:[^/?#@]*@)([^/?#:,@]*)", re.IGNORECASE)


def is_reserved_header(name: str) -> bool:
    """Return whether only the service may set this header."""
    return _RESERVED.fullmatch(name) is not None


def check_header_name(name: str) -> str:
    """Return the name. Raises ValueError, with the reason, for a header that a caller may not set."""
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError("A header name must be 1 to 76 printable ASCII characters without spaces or colons.")
    if is_reserved_header(name):
        raise ValueError(f"The header {name} is set by the service.")
    if is_relay_header(name):
        raise ValueError(f"The header {name} could give commands to the relay. ALLOWED_RELAY_HEADERS does not allow it.")
    return name


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError if the headers together are larger than many relays accept."""
    if sum(len(name) + len(value.encode()) for name, value in headers.items()) > MAX_HEADERS_BYTES:
        raise ValueError(f"All headers together can have up to {MAX_HEADERS_BYTES} bytes.")


def format_header(name: str, value: str) -> str:
    """Return the value of a custom header, encoded where necessary, and folded. Raises ValueError with the reason."""
    check_header_name(name)
    if len(value) > MAX_HEADER_LENGTH:
        raise ValueError(f"The value of the header {name} is longer than {MAX_HEADER_LENGTH} characters.")
    value = check_displayed(value.replace("\t", " "))
    if name.lower() in _ADDRESS_HEADERS:
        if len(mailboxes := parse_mailboxes(value, limit=MAX_ADDRESSES)) > MAX_ADDRESSES:
            raise ValueError(f"The header {name} can have up to {MAX_ADDRESSES} addresses.")
        return format_address_list(name, tuple(mailboxes))
    return fold(name, _words(name, value))


def _words(name: str, value: str) -> list[str]:
    key = name.lower()
    if key in _ID_HEADERS:
        return _plain_words(name, value)
    if key == "list-id":
        return _plain_words(name, _format_pieces(value, text=_encode_phrase, bracketed=_to_ascii_domain))
    if _URL_HEADERS.fullmatch(key):
        return _plain_words(name, _format_urls(value))
    value = _encode_urls_in_text(value)
    if key in _WORD_HEADERS:
        return _plain_words(name, _encode_comments(value))
    text = " ".join(value.split()) if value.isascii() else value.strip()
    # A long word may be a URL, in which email clients do not decode encoded words. So a long word stays unencoded if possible.
    return encode_words(name, text, max_length=MAX_LINE_LENGTH)


def _plain_words(name: str, value: str) -> list[str]:
    words = value.split()
    if not all(map(str.isascii, words)):
        raise ValueError(f"The value of the header {name} must be ASCII.")
    if max(map(len, words), default=0) > MAX_LINE_LENGTH - len(f"{name}: "):
        raise ValueError(f"The value of the header {name} has a word that is too long for a line.")
    return words


def _format_urls(value: str) -> str:
    if _URL.match(value):
        pieces = _BETWEEN_URLS.split(value)  # every second piece is a comma
        return "".join(piece if index % 2 else _to_ascii_url(piece) for index, piece in enumerate(pieces))
    return _format_pieces(_encode_urls_in_text(value), text=_encode_comments, bracketed=_to_ascii_url)


def _encode_urls_in_text(value: str) -> str:
    """Return the text with its URLs percent-encoded, because programs look for URLs in headers of any name."""
    return value if value.isascii() else _URL_IN_TEXT.sub(_to_ascii_if_valid, value)


def _to_ascii_if_valid(url: re.Match[str]) -> str:
    try:
        return _to_ascii_url(url[0])
    except ValueError:  # no URL after all, and so text that is encoded
        return url[0]


def _format_pieces(value: str, *, text: Callable[[str], str], bracketed: Callable[[str], str]) -> str:
    """Return the value with `bracketed` applied to what is in angle brackets, and with `text` applied to the rest."""
    pieces = _BRACKETS.split(value)  # every second piece was in angle brackets
    return "".join(f"<{bracketed(piece.strip())}>" if index % 2 else text(piece) for index, piece in enumerate(pieces))


def _encode_phrase(text: str) -> str:
    if text.isascii():
        return text
    # White space separates an encoded word from what is before and after it (RFC 2047 section 5).
    return " ".join([*([""] if text[0] == " " else []), *format_phrase(text.strip().strip('"')), ""])


def _encode_comments(text: str) -> str:
    """Encode the text of comments. The parentheses and commas around the text stay."""
    return "".join(_encode_phrase(piece) for piece in re.split("([(),])", text))


def _to_ascii_url(url: str) -> str:
    """Return the URL with an ASCII host, and with all other spaces and non-ASCII characters percent-encoded (RFC 3987)."""
    if url.isascii() and " " not in url:
        return url
    match = _AUTHORITY.match(url)
    if match is None:
        return str(iri_to_uri(url))
    return f"{iri_to_uri(match[1])}{_to_ascii_domain(match[2])}{iri_to_uri(url[match.end() :])}"


def _to_ascii_domain(domain: str) -> str:
    return domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
