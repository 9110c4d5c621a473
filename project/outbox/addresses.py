"""E-mail addresses (RFC 5321, RFC 6531). Pure."""

from email_validator import validate_email


def normal_address(text: str) -> str:
    """The address as any relay takes it, an international domain in its ASCII form (RFC 5890). Raises ValueError, which says why.

    Whether anyone receives mail there is for the relay to say; `.test` is allowed (RFC 2606). A local part that is not ASCII
    would need a relay that speaks SMTPUTF8.
    """
    address = validate_email(text, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True)
    return address.ascii_email or address.normalized
