"""E-mail addresses (RFC 5321, RFC 6531). Pure."""

from email_validator import validate_email


def normal_address(text: str) -> str:
    """The address in its normal form. Raises ValueError, which says what is wrong with it.

    Whether anyone receives mail there is for the relay to say; `.test` is allowed (RFC 2606).
    """
    return validate_email(text, check_deliverability=False, test_environment=True).normalized
