"""What a failed try means, and when the next one is due. Pure: the caller brings the time and the dice."""

import smtplib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import aiosmtplib

from project.delays import DELAYS

SPREAD = 0.1  # of a delay, to either side: mails that failed together do not come back together

SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
DOUBLINGS = 6  # from the shortest pause past the longest; more would overflow after a weekend

NOT_LET_IN = 530  # without TLS (RFC 3207 section 4), or without a login (RFC 4954 section 6)
SHUTTING_DOWN = 421  # the relay ends the conversation, whatever was asked (RFC 5321, 3.8)


class Fault(StrEnum):
    """Whose fault a failed try is, and whether that may pass."""

    MESSAGE_TRANSIENT = "message_transient"  # try again later
    MESSAGE_PERMANENT = "message_permanent"  # this mail has failed, alone
    RELAY = "relay"  # no mail would go now: the transport pauses, and this try does not count


# What no code tells, the first row that fits. A kind is a class or, of libraries that are not always there, a class's name.
BY_KIND: tuple[tuple[Fault, tuple[type[BaseException] | str, ...]], ...] = (
    (Fault.RELAY, (aiosmtplib.SMTPConnectError,)),  # some of these are timeouts too
    # A conversation that broke off. Never the relay's fault: a mail that makes it hang up each time would stop all others.
    (Fault.MESSAGE_TRANSIENT, (smtplib.SMTPServerDisconnected, aiosmtplib.SMTPServerDisconnected, TimeoutError, "ReadTimeout")),
    (Fault.MESSAGE_TRANSIENT, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)),
    (Fault.RELAY, (OSError, aiosmtplib.SMTPException)),  # refused, no such host, TLS, login; smtplib's are OSErrors too
    (Fault.RELAY, (ImportError, "ImproperlyConfigured")),  # the backend itself cannot be had
    (Fault.MESSAGE_TRANSIENT, ("AnymailAPIError",)),  # a service that gave no readable answer
    (Fault.MESSAGE_TRANSIENT, ("OperationalError", "InterfaceError")),  # of a backend that keeps its mail in a database
    (Fault.MESSAGE_PERMANENT, (Exception,)),  # what is unknown fails its own mail and no other
    (Fault.MESSAGE_TRANSIENT, (BaseException,)),  # cancelled, interrupted: this process was stopped, the mail did nothing
)
# Answers given before there was talk of any mail.
NOT_ABOUT_MAIL = (
    smtplib.SMTPConnectError,
    smtplib.SMTPHeloError,
    smtplib.SMTPAuthenticationError,
    aiosmtplib.SMTPConnectError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPAuthenticationError,
)
NOT_SUPPORTED = (smtplib.SMTPNotSupportedError, aiosmtplib.SMTPNotSupported)

# Of a service's API (RFC 9110, RFC 6585); of the others, 4xx is the request's own fault, and any more may pass.
BY_HTTP_STATUS = {
    401: Fault.RELAY,
    403: Fault.MESSAGE_TRANSIENT,  # an operator mends it; it may be for this sender alone, so it stops no other mail
    408: Fault.MESSAGE_TRANSIENT,
    429: Fault.MESSAGE_TRANSIENT,
}


def next_attempt(
    *, attempts: int, now: datetime, delays: Sequence[timedelta] = DELAYS, asked: timedelta | None = None, jitter: float
) -> datetime | None:
    """When to try again after the `attempts`-th try failed in a way that may pass, or None if it has had its chances.

    `jitter` in [0, 1) moves the delay by up to a tenth to either side, never before what the relay `asked` for.
    Raises ValueError for fewer than one attempt, or a jitter out of its range.
    """
    if attempts < 1 or not 0 <= jitter < 1:
        raise ValueError(f"No {attempts}-th try with a jitter of {jitter}")
    if attempts > len(delays):
        return None
    delay = delays[attempts - 1] * (1 - SPREAD + 2 * SPREAD * jitter)
    return now + max(delay, asked or timedelta())


def pause_after(failures: int, *, now: datetime) -> datetime:
    """When to probe a relay that was wrong `failures` times in a row: in 5 s, doubling up to 5 min.

    Raises ValueError for fewer than one failure.
    """
    if failures < 1:
        raise ValueError(f"No pause after {failures} failures")
    return now + min(SHORTEST_PAUSE * (1 << min(failures - 1, DOUBLINGS)), LONGEST_PAUSE)


def fault_of(error: BaseException) -> Fault:
    """Whose fault an exception of smtplib, aiosmtplib, a service's API (django-anymail), ssl or the network is."""
    if (codes := _smtp_codes(error)) is not None:
        no_mail = NOT_LET_IN in codes or (isinstance(error, NOT_ABOUT_MAIL) and SHUTTING_DOWN not in codes)
        return Fault.RELAY if no_mail else _fault_of_codes(codes)
    if (status := _http_status(error)) is not None:
        final = Fault.MESSAGE_PERMANENT if 400 <= status < 500 else Fault.MESSAGE_TRANSIENT
        return BY_HTTP_STATUS.get(status, final)
    if isinstance(error, NOT_SUPPORTED) and "SMTPUTF8" in str(error):
        return Fault.MESSAGE_PERMANENT  # an address of this mail needs it
    return next(fault for fault, kinds in BY_KIND if any(_is_a(error, kind) for kind in kinds))


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


def _is_a(error: BaseException, kind: type[BaseException] | str) -> bool:
    return any(kind in (each, each.__name__) for each in type(error).__mro__)


def _fault_of_codes(codes: Sequence[int]) -> Fault:
    # Final only if all are: -1 stands for an answer that could not be read, and such a mail gets its chances.
    final = codes and all(500 <= code < 600 for code in codes)
    return Fault.MESSAGE_PERMANENT if final else Fault.MESSAGE_TRANSIENT
