"""Classifies errors of smtplib, aiosmtplib, email services and the network: temporary, permanent, or the relay is unavailable."""

import smtplib
from collections.abc import Mapping, Sequence
from enum import StrEnum

import aiosmtplib

AUTHENTICATION_REQUIRED = 530  # reply to a command without TLS (RFC 3207 section 4) or without a login (RFC 4954 section 6)
SERVICE_CLOSING = 421  # possible reply to any command: the relay closes the connection (RFC 5321 section 3.8)


class FailureKind(StrEnum):
    """The kind of a failed attempt: what it means for the email and for the relay."""

    TEMPORARY = "temporary"  # try again later
    PERMANENT = "permanent"  # only this email has failed
    RELAY_UNAVAILABLE = "relay_unavailable"  # no email could be sent now: delivery pauses, and this attempt does not count


# For exceptions without a reply code; the first matching row counts. A string is the name of a class that may not be installed.
KIND_BY_EXCEPTION: tuple[tuple[FailureKind, tuple[type[BaseException] | str, ...]], ...] = (
    (FailureKind.RELAY_UNAVAILABLE, (aiosmtplib.SMTPConnectError,)),  # first, because some of these errors are also TimeoutErrors
    # A lost connection is never RELAY_UNAVAILABLE, because one email that makes the relay disconnect would stop all other emails.
    (
        FailureKind.TEMPORARY,
        (smtplib.SMTPServerDisconnected, aiosmtplib.SMTPServerDisconnected, TimeoutError, "ReadTimeout"),
    ),
    (FailureKind.TEMPORARY, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    # Refused connections, unknown hosts, failed TLS or login. smtplib's exceptions are OSErrors too.
    (FailureKind.RELAY_UNAVAILABLE, (OSError, aiosmtplib.SMTPException)),
    (FailureKind.RELAY_UNAVAILABLE, (ImportError, "ImproperlyConfigured")),  # the backend cannot be loaded
    (FailureKind.TEMPORARY, ("AnymailAPIError",)),  # an email service without a readable response
    (FailureKind.TEMPORARY, ("OperationalError", "InterfaceError")),  # a backend that stores emails in a database
    (FailureKind.PERMANENT, (Exception,)),  # an unknown error fails only its own email
    (FailureKind.TEMPORARY, (BaseException,)),  # canceled or interrupted: the process is stopping
)
# Raised before an email was offered to the relay.
CONNECTION_ERRORS = (
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPAuthenticationError,
    aiosmtplib.SMTPConnectError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPAuthenticationError,
)
NOT_SUPPORTED = (smtplib.SMTPNotSupportedError, aiosmtplib.SMTPNotSupported)
# Statuses of an email service's API (RFC 9110, RFC 6585). Any other 4xx is permanent, and all other statuses are temporary.
KIND_BY_HTTP_STATUS = {
    401: FailureKind.RELAY_UNAVAILABLE,
    403: FailureKind.TEMPORARY,  # an operator can fix the cause, which may concern only this sender, so delivery goes on
    408: FailureKind.TEMPORARY,
    429: FailureKind.TEMPORARY,
}


def classify_error(error: BaseException) -> FailureKind:
    """Classify an exception of smtplib, aiosmtplib, an email service's API (django-anymail), ssl or the network."""
    if (codes := _smtp_codes(error)) is not None:
        relay_error = AUTHENTICATION_REQUIRED in codes or (isinstance(error, CONNECTION_ERRORS) and SERVICE_CLOSING not in codes)
        return FailureKind.RELAY_UNAVAILABLE if relay_error else _kind_of_codes(codes)
    if (status := _http_status(error)) is not None:
        default = FailureKind.PERMANENT if 400 <= status < 500 else FailureKind.TEMPORARY
        return KIND_BY_HTTP_STATUS.get(status, default)
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
    is_permanent = codes and all(500 <= code < 600 for code in codes)
    return FailureKind.PERMANENT if is_permanent else FailureKind.TEMPORARY
