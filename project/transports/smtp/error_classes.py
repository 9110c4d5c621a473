"""Classifies errors of smtplib, aiosmtplib, email services and the network: temporary, permanent, or the relay is unavailable."""

import smtplib
from collections.abc import Mapping, Sequence
from enum import StrEnum

import aiosmtplib

AUTHENTICATION_REQUIRED = 530  # without TLS (RFC 3207 section 4), or without a login (RFC 4954 section 6)


SERVICE_CLOSING = 421  # the relay ends the conversation, whatever was asked (RFC 5321, 3.8)


class FailureKind(StrEnum):
    """Whose fault a failed try is, and whether that may pass."""

    TEMPORARY = "temporary"  # try again later
    PERMANENT = "permanent"  # this mail has failed, alone
    RELAY_UNAVAILABLE = "relay_unavailable"  # no mail would go now: the transport pauses, and this try does not count


# What no code tells, the first row that fits. A kind is a class or, of libraries that are not always there, a class's name.
KIND_BY_EXCEPTION: tuple[tuple[FailureKind, tuple[type[BaseException] | str, ...]], ...] = (
    (FailureKind.RELAY_UNAVAILABLE, (aiosmtplib.SMTPConnectError,)),  # some of these are timeouts too
    # A conversation that broke off. Never the relay's fault: a mail that makes it hang up each time would stop all others.
    (
        FailureKind.TEMPORARY,
        (smtplib.SMTPServerDisconnected, aiosmtplib.SMTPServerDisconnected, TimeoutError, "ReadTimeout"),
    ),
    (FailureKind.TEMPORARY, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    (
        FailureKind.RELAY_UNAVAILABLE,
        (OSError, aiosmtplib.SMTPException),
    ),  # refused, no such host, TLS, login; smtplib's are OSErrors too
    (FailureKind.RELAY_UNAVAILABLE, (ImportError, "ImproperlyConfigured")),  # the backend itself cannot be had
    (FailureKind.TEMPORARY, ("AnymailAPIError",)),  # a service that gave no readable answer
    (FailureKind.TEMPORARY, ("OperationalError", "InterfaceError")),  # of a backend that keeps its mail in a database
    (FailureKind.PERMANENT, (Exception,)),  # what is unknown fails its own mail and no other
    (FailureKind.TEMPORARY, (BaseException,)),  # cancelled, interrupted: this process was stopped, the mail did nothing
)
# Answers given before there was talk of any mail.
CONNECTION_ERRORS = (
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPAuthenticationError,
    aiosmtplib.SMTPConnectError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPAuthenticationError,
)
NOT_SUPPORTED = (smtplib.SMTPNotSupportedError, aiosmtplib.SMTPNotSupported)
# Of a service's API (RFC 9110, RFC 6585); of the others, 4xx is the request's own fault, and any more may pass.
KIND_BY_HTTP_STATUS = {
    401: FailureKind.RELAY_UNAVAILABLE,
    403: FailureKind.TEMPORARY,  # an operator mends it; it may be for this sender alone, so it stops no other mail
    408: FailureKind.TEMPORARY,
    429: FailureKind.TEMPORARY,
}


def classify_error(error: BaseException) -> FailureKind:
    """Whose fault an exception of smtplib, aiosmtplib, a service's API (django-anymail), ssl or the network is."""
    if (codes := _smtp_codes(error)) is not None:
        no_mail = AUTHENTICATION_REQUIRED in codes or (isinstance(error, CONNECTION_ERRORS) and SERVICE_CLOSING not in codes)
        return FailureKind.RELAY_UNAVAILABLE if no_mail else _kind_of_codes(codes)
    if (status := _http_status(error)) is not None:
        final = FailureKind.PERMANENT if 400 <= status < 500 else FailureKind.TEMPORARY
        return KIND_BY_HTTP_STATUS.get(status, final)
    if isinstance(error, NOT_SUPPORTED) and "SMTPUTF8" in str(error):
        return FailureKind.PERMANENT  # an address of this mail needs it
    return next(failure_kind for failure_kind, kinds in KIND_BY_EXCEPTION if any(_is_instance(error, kind) for kind in kinds))


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
    """The status that django-anymail tells; for Amazon SES it is in the answer that boto3 read."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return response if isinstance(response, int) else None
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _is_instance(error: BaseException, kind: type[BaseException] | str) -> bool:
    return any(kind in (each, each.__name__) for each in type(error).__mro__)


def _kind_of_codes(codes: Sequence[int]) -> FailureKind:
    # Final only if all are: -1 stands for an answer that could not be read, and such a mail gets its chances.
    final = codes and all(500 <= code < 600 for code in codes)
    return FailureKind.PERMANENT if final else FailureKind.TEMPORARY
