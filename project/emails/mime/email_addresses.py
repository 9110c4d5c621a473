"""Normal forms of email addresses (RFC 5321, RFC 6531), alone and with a display name (RFC 5322 section 3.4). Pure."""

import re
import unicodedata
from functools import lru_cache

from django.conf import settings

from project.config.address_rules import validate_address
from project.emails.mime.address_lists import check_name, split_mailboxes

MAX_MAILBOX_LENGTH = 320  # characters

_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}  # control characters, unpaired surrogates, line and paragraph separators
# Control characters that change the direction of all following text. With them, a display name can look like another name, or
# change how the address after it looks. The marks (U+200E, U+200F) and the joiners (U+200C, U+200D) have no such effect, and
# some names need them.
_BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_QUOTED_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def normalize_address(text: str) -> str:
    """Return the address in the form that any relay accepts, with the domain in ASCII (RFC 5890).

    Raises ValueError with the reason. The domain need not exist, because only the relay looks it up; `.test` (RFC 2606) is
    allowed. The local part must be ASCII, because any other local part would need a relay with SMTPUTF8. Two settings allow
    internal domains and unusual local parts.
    """
    internal_domains, quoted_local_parts = _rules()
    return validate_address(text, internal_domains=internal_domains, quoted_local_parts=quoted_local_parts)


def _rules() -> tuple[bool, bool]:
    return settings.ALLOW_INTERNAL_DOMAINS, settings.ALLOW_QUOTED_LOCAL_PARTS


def normalize_mailbox(text: str) -> str:
    """Return the normal form of `Name <address>` or of a bare address. Raises ValueError with the reason."""
    mailboxes = parse_mailboxes(text)
    if len(mailboxes) != 1:
        raise ValueError("Exactly one address is required here.")
    return mailboxes[0]


def parse_mailboxes(text: str, *, limit: int = 1) -> list[str]:
    """Return the normal forms of the mailboxes in the text, which are separated by commas or semicolons.

    If there are more than `limit` mailboxes, return `limit + 1` of them. Raises ValueError with the reason.
    """
    if len(text) <= MAX_MAILBOX_LENGTH:
        return list(_parse_short(text, limit, *_rules()))
    return _parse(text, limit, *_rules())


def _parse(text: str, limit: int, internal_domains: bool, quoted_local_parts: bool) -> list[str]:
    if not text.isprintable() and any(
        unicodedata.category(each) in _FORBIDDEN_CATEGORIES or each in _BIDI_CONTROLS for each in text
    ):
        raise ValueError("The address contains a line break, a control character or a character that changes the text direction.")
    rules = {"internal_domains": internal_domains, "quoted_local_parts": quoted_local_parts}
    return [_normalize_one(mailbox.strip(), **rules) for mailbox in split_mailboxes(text)[: limit + 1]]


_parse_short = lru_cache(maxsize=4096)(_parse)  # most emails of a caller have the same From


@lru_cache(maxsize=4096)  # for lists of addresses, which have too many different texts
def _normalize_one(text: str, **rules: bool) -> str:
    if len(text) > MAX_MAILBOX_LENGTH:
        raise ValueError(f"The address is longer than {MAX_MAILBOX_LENGTH} characters.")
    match = re.fullmatch(r"(.*?)<([^<>]*)>", text)
    if match is None:
        return validate_address(text, **rules)
    written, address = match[1].strip(), validate_address(match[2].strip(), **rules)
    quoted = _QUOTED_STRING.fullmatch(written)
    name = re.sub(r"\\(.)", r"\1", quoted[1]).strip() if quoted else written
    check_name(name, address=address, is_quoted=quoted is not None)
    mailbox = f"{_quote(name)} <{address}>" if name else address
    if len(mailbox) > MAX_MAILBOX_LENGTH:  # normalization may add quotes, and writes the domain in ASCII
        raise ValueError(f"The address is longer than {MAX_MAILBOX_LENGTH} characters after normalization.")
    return mailbox


def _quote(name: str) -> str:
    if not re.search(r'[()<>@,:;.\\"\[\]]', name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
