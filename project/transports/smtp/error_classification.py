"""Classifies errors of smtplib, aiosmtplib, email services and the network: temporary, permanent, or the relay is unavailable.

Only errors of opening a connection (connecting, TLS, greeting, EHLO, login) mean that the relay is unavailable. An error while an
email is being sent counts for that email, even if it looks like an error of the relay: otherwise one email that always gets a
530, or whose backend raises `OSError`, would stop all other emails (decision 0024).
"""

import smtplib
from collections.abc import Mapping, Sequence
from enum import StrEnum

import aiosmtplib

from project.transports.smtp.replies import LOGIN_REQUIRED_CODES, TEMPORARY_HTTP_STATUSES


class FailureKind(StrEnum):
    """The kind of a failed attempt: what it means for the email and for the relay."""

    TEMPORARY = "temporary"  # try again later
    PERMANENT = "permanent"  # only this email has failed
    RELAY_UNAVAILABLE = "relay_unavailable"  # no connection, so no email can be sent: delivery pauses; the attempt does not count


# For exceptions without a reply code; the first matching row counts. A string is the name of a class that may not be installed.
KIND_BY_EXCEPTION: tuple[tuple[FailureKind, tuple[type[BaseException] | str, ...]], ...] = (
    # Lost and refused connections, unknown hosts, failed TLS. smtplib's exceptions are OSErrors too.
    (FailureKind.TEMPORARY, (OSError, aiosmtplib.SMTPException)),
    (FailureKind.TEMPORARY, (ImportError, "ImproperlyConfigured")),  # a setting of the backend, which an operator can fix
    (FailureKind.TEMPORARY, ("AnymailAPIError",)),  # an email service without a readable response
    (FailureKind.TEMPORARY, ("OperationalError", "InterfaceError")),  # a backend that stores emails in a database
    (FailureKind.PERMANENT, (Exception,)),  # an unknown error fails only its own email
    (FailureKind.TEMPORARY, (BaseException,)),  # canceled or interrupted: the process is stopping
)
NOT_SUPPORTED = (smtplib.SMTPNotSupportedError, aiosmtplib.SMTPNotSupported)


def classify_error(error: BaseException) -> FailureKind:
    """Classify an exception that was raised while an email was being sent: `TEMPORARY` or `PERMANENT`.

    Understands exceptions of smtplib, aiosmtplib, an email service's API (django-anymail), ssl and the network.
    """
    if (codes := _smtp_codes(error)) is not None:
        return _kind_of_codes(codes)
    if (status := _http_status(error)) is not None:
        is_permanent = 400 <= status < 500 and status not in TEMPORARY_HTTP_STATUSES
        return FailureKind.PERMANENT if is_permanent else FailureKind.TEMPORARY
    if isinstance(error, NOT_SUPPORTED) and "SMTPUTF8" in str(error):
        return FailureKind.PERMANENT  # an address of this email needs an extension that the relay lacks
    return next(failure_kind for failure_kind, types in KIND_BY_EXCEPTION if any(_is_instance(error, each) for each in types))


def _smtp_codes(error: BaseException) -> list[int] | None:
    match error:
        case smtplib.SMTPRecipientsRefused():
            return [code for code, _ in error.recipients.values()]
        case aiosmtplib.SMTPRecipientsRefused():
            return [each.code for each in error.recipients]
        case smtplib.SMTPResponseException():
            return [error.smtp_code]
        case aiosmtplib.SMTPResponseException():
            return [error.code]
    return None


def _http_status(error: BaseException) -> int | None:
    """Return the HTTP status in django-anymail's exception, or None. For Amazon SES, it is in the response that boto3 parsed."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return response if isinstance(response, int) else None
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _is_instance(error: BaseException, type_or_name: type[BaseException] | str) -> bool:
    return any(type_or_name in (each, each.__name__) for each in type(error).__mro__)


def _kind_of_codes(codes: Sequence[int]) -> FailureKind:
    # The failure is permanent only if all codes are permanent. The code -1 stands for an unreadable reply; the next attempt may
    # get a readable reply.
    is_permanent = codes and all(500 <= code < 600 and code not in LOGIN_REQUIRED_CODES for code in codes)
    return FailureKind.PERMANENT if is_permanent else FailureKind.TEMPORARY
