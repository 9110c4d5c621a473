"""Patterns for the From addresses that an API key may use: an email address, `*@domain`, or `*@*.domain` for all subdomains.

Pure functions, no I/O.
"""

from django.conf import settings

from project.config.address_rules import validate_address


def normalize_pattern(text: str) -> str:
    """Return the pattern in lower case, with an international domain in its ASCII form (RFC 5890).

    Raises ValueError with a message for the user.
    """
    local, _, domain = text.strip().rpartition("@")
    subdomains = "*." if local == "*" and domain.startswith("*.") else ""
    if not local or (local != "*" and "*" in local):
        raise ValueError(f"{text}: enter an address, *@domain or *@*.domain.")
    try:
        # Validated with the same rules as From addresses, so that a From address can match. The validator accepts `*@`.
        address = validate_address(
            f"{local}@{domain.removeprefix(subdomains)}",
            internal_domains=settings.ALLOW_INTERNAL_DOMAINS,
            quoted_local_parts=settings.ALLOW_QUOTED_LOCAL_PARTS,
        )
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    local, _, domain = address.lower().rpartition("@")
    return f"{local}@{subdomains}{domain}"


def matches_pattern(pattern: str, address: str) -> bool:
    """Return whether a normalized email address without a display name matches a normalized pattern."""
    pattern_local, _, pattern_domain = pattern.rpartition("@")
    local, _, domain = address.lower().rpartition("@")
    if pattern_local not in ("*", local):
        return False
    return domain.endswith(pattern_domain[1:]) if pattern_domain.startswith("*.") else domain == pattern_domain
