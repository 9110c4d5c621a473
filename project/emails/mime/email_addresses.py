"""Normal forms of email addresses (RFC 5321, RFC 6531), alone and with a display name (RFC 5322 section 3.4). Pure."""

import re
import unicodedata
from functools import lru_cache

from email_validator import validate_email

_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}  # control characters, unpaired surrogates, line and paragraph separators
# Control characters that change the direction of all following text. With them, a display name can look like another name, or
# change how the address after it looks. The marks (U+200E, U+200F) and the joiners (U+200C, U+200D) have no such effect, and
# some names need them.
_BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normalize_address(text: str) -> str:
    """Return the address in the form that any relay accepts, with the domain in ASCII (RFC 5890).

    Raises ValueError with the reason. The domain need not exist, because only the relay looks it up; `.test` (RFC 2606) is
    allowed. The local part must be ASCII, because any other local part would need a relay with SMTPUTF8.
    """
    address = validate_email(text, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True)
    return address.ascii_email or address.normalized


@lru_cache(maxsize=4096)  # most emails of a caller have the same From
def normalize_mailbox(text: str) -> str:
    """Return the normal form of `Name <address>` or of a bare address. Raises ValueError with the reason."""
    if not text.isprintable() and any(
        unicodedata.category(each) in _FORBIDDEN_CATEGORIES or each in _BIDI_CONTROLS for each in text
    ):
        raise ValueError("The address contains a line break, a control character or a character that changes the text direction.")
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
