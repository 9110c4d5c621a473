"""E-mail addresses (RFC 5321, RFC 6531), alone and with a name before them (RFC 5322 section 3.4). Pure."""

import re
import unicodedata
from functools import lru_cache

from email_validator import validate_email

_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}  # what controls, or ends a line, and half a surrogate pair
# What turns the direction of all that follows, so that a name shows as another or reaches into its address. The marks (U+200E,
# U+200F) are no such, and like the joiners (U+200C, U+200D) some names need them.
_BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normalize_address(text: str) -> str:
    """The address as any relay takes it, an international domain in its ASCII form (RFC 5890). Raises ValueError, which says why.

    Whether anyone receives mail there is for the relay to say; `.test` is allowed (RFC 2606). A local part that is not ASCII
    would need a relay that speaks SMTPUTF8.
    """
    address = validate_email(text, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True)
    return address.ascii_email or address.normalized


@lru_cache(maxsize=4096)  # a caller's mails mostly come from one sender
def normalize_mailbox(text: str) -> str:
    """`Name <address>` or an address, in its normal form. Raises ValueError, which says why."""
    if not text.isprintable() and any(
        unicodedata.category(each) in _FORBIDDEN_CATEGORIES or each in _BIDI_CONTROLS for each in text
    ):
        raise ValueError("it holds a line break, another control character, or one that turns the direction of the text")
    text = text.strip()
    match = re.fullmatch(r"(.*?)<([^<>]*)>", text)
    if match is None:
        return normalize_address(text)
    name, address = _unquote(match[1].strip()), normalize_address(match[2].strip())
    return f"{_quote(name)} <{address}>" if name else address


def _unquote(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if len(name) > 1 and name[0] == name[-1] == '"' else name


def _quote(name: str) -> str:
    if not re.search(r'[()<>@,:;.\\"\[\]]', name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
