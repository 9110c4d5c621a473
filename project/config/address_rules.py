"""Rules for email addresses (RFC 5321, RFC 6531): which ones are valid, and their normal form. Pure.

They stand here, below the settings, because API keys and emails must have the same rules.
"""

import re

from email_validator import EmailNotValidError, validate_email

_DOT_ATOM = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.IGNORECASE)
_DOTTED = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]+", re.IGNORECASE)
_QUOTED = re.compile(r'"[ !#-;=?-\[\]-~]+"')  # no quotes, backslashes or angle brackets inside


def validate_address(text: str, *, internal_domains: bool, quoted_local_parts: bool) -> str:
    """Return the normal form of an email address, with the domain in ASCII (RFC 5890). Raises ValueError with the reason.

    With `internal_domains`, names that exist only in a private network are valid, such as `localhost` and `printer.local`.
    With `quoted_local_parts`, the part before the @ may be quoted, or have dots where RFC 5321 allows none, as in
    `a..b@docomo.ne.jp`. The normal form of such a part is quoted, because relays accept it so.
    """
    local, at, domain = text.rpartition("@")
    if quoted_local_parts and at and _DOTTED.fullmatch(local) and not _DOT_ATOM.fullmatch(local):
        return validate_address(f'"{local}"@{domain}', internal_domains=internal_domains, quoted_local_parts=True)
    try:
        return _validate(text, quoted_local_parts=quoted_local_parts)
    except EmailNotValidError:
        if not internal_domains or domain.rpartition(".")[2].isdigit():
            raise
    # The validator has no option for internal names alone, but allows any name below `.test` (RFC 2606).
    return _validate(f"{text}.test", quoted_local_parts=quoted_local_parts).removesuffix(".test")


def _validate(text: str, *, quoted_local_parts: bool) -> str:
    address = validate_email(
        text,
        check_deliverability=False,
        test_environment=True,
        allow_smtputf8=False,
        allow_quoted_local=quoted_local_parts,
        strict=True,
    )
    normal = address.ascii_email or address.normalized
    local = normal.rpartition("@")[0]
    if local.startswith('"') and not _QUOTED.fullmatch(local):
        raise ValueError("A quoted part before the @ must not contain quotation marks, backslashes or angle brackets.")
    return normal
