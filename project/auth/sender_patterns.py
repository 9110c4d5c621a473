"""The senders that a key may use: an address, `*@domain`, or `*@*.domain` for what is below it. Pure."""

from email_validator import validate_email


def normalize_pattern(text: str) -> str:
    """The pattern in lower case, an international domain in its ASCII form (RFC 5890). Raises ValueError, which says why."""
    local, _, domain = text.strip().rpartition("@")
    below = "*." if local == "*" and domain.startswith("*.") else ""
    if not local or (local != "*" and "*" in local):
        raise ValueError(f"{text}: a sender is an address, *@domain or *@*.domain.")
    try:
        # As the addresses of mails are, or none would match. A star is a letter like any other there.
        address = validate_email(
            f"{local}@{domain.removeprefix(below)}",
            check_deliverability=False,
            test_environment=True,
            allow_smtputf8=False,
            strict=True,
        )
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    local, _, domain = (address.ascii_email or address.normalized).lower().rpartition("@")
    return f"{local}@{below}{domain}"


def matches_pattern(pattern: str, address: str) -> bool:
    """Whether a bare address in its normal form is one of those that a normal pattern stands for."""
    wanted, _, wanted_domain = pattern.rpartition("@")
    local, _, domain = address.lower().rpartition("@")
    if wanted not in ("*", local):
        return False
    return domain.endswith(wanted_domain[1:]) if wanted_domain.startswith("*.") else domain == wanted_domain
