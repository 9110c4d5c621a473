"""Retry times, and the classification of errors."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiosmtplib
import pytest
import requests
from anymail.exceptions import (  # type: ignore[import-untyped]
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailUnsupportedFeature,
)
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

from project.config.durations import DEFAULT_RETRY_DELAYS
from project.delivery.retry_policy import next_attempt, pause_after
from project.transports.smtp.error_classification import FailureKind, classify_error

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
NO_JITTER = 0.5  # 0.5 is the middle of the range, and leaves a delay unchanged

# The next attempt


@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(1, 1), (2, 5), (3, 15), (4, 60), (5, 240), (6, 720), (7, 1440)],
)
def test_each_retry_waits_longer(attempts: int, minutes: int) -> None:
    assert next_attempt(attempts=attempts, now=NOW, jitter=NO_JITTER) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize("attempts", [len(DEFAULT_RETRY_DELAYS) + 1, len(DEFAULT_RETRY_DELAYS) + 2, 10_000])
def test_gives_up_after_the_last_delay(attempts: int) -> None:
    assert next_attempt(attempts=attempts, now=NOW, requested_delay=timedelta(minutes=1), jitter=NO_JITTER) is None


def test_does_not_retry_without_delays() -> None:
    assert next_attempt(attempts=1, now=NOW, delays=[], jitter=NO_JITTER) is None


def test_uses_custom_delays() -> None:
    assert next_attempt(attempts=2, now=NOW, delays=[timedelta(0), timedelta(days=3)], jitter=NO_JITTER) == NOW + timedelta(
        days=3
    )


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 54), (0.25, 57), (0.5, 60), (0.75, 63)])
def test_jitter_moves_a_delay_in_both_directions(jitter: float, seconds: int) -> None:
    assert next_attempt(attempts=1, now=NOW, jitter=jitter) == NOW + timedelta(seconds=seconds)


def test_jitter_adds_at_most_ten_percent() -> None:
    due = next_attempt(attempts=1, now=NOW, jitter=0.999_999)

    assert due is not None
    assert timedelta(seconds=65.9) < due - NOW <= timedelta(seconds=66)


@pytest.mark.parametrize(
    ("requested", "jitter", "seconds"),
    [(300, 0.0, 300), (300, 0.9, 300), (60, 0.0, 60), (60, 0.75, 63), (1, NO_JITTER, 60), (0, NO_JITTER, 60)],
)
def test_never_retries_earlier_than_the_relay_requested(requested: int, jitter: float, seconds: int) -> None:
    due = next_attempt(attempts=1, now=NOW, requested_delay=timedelta(seconds=requested), jitter=jitter)

    assert due == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("attempts", "jitter"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1), (1, float("nan"))])
def test_rejects_invalid_attempts_and_jitter(attempts: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        next_attempt(attempts=attempts, now=NOW, jitter=jitter)


# The back-off while the relay is unavailable


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300), (10**9, 300)],
)
def test_pauses_double_up_to_five_minutes(failures: int, seconds: int) -> None:
    assert pause_after(failures, now=NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("failures", [0, -1])
def test_rejects_a_pause_without_a_failure(failures: int) -> None:
    with pytest.raises(ValueError, match="failures must be at least 1"):
        pause_after(failures, now=NOW)


# The classification of errors


def smtplib_rejection(*codes: int) -> smtplib.SMTPRecipientsRefused:
    """Return smtplib's error for a rejection of one recipient per code."""
    return smtplib.SMTPRecipientsRefused({f"{number}@b.example": (code, b"no") for number, code in enumerate(codes)})


def aiosmtplib_rejection(*codes: int) -> aiosmtplib.SMTPRecipientsRefused:
    """Return aiosmtplib's error for a rejection of one recipient per code."""
    return aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(code, "no", "a@b.example") for code in codes])


def http_error(status: int) -> Exception:
    """Return django-anymail's error for a response with this HTTP status."""
    response = requests.Response()
    response.status_code = status
    error: Exception = AnymailRequestsAPIError(response=response)
    return error


def http_failure(kind: type[Exception]) -> Exception:
    """Return django-anymail's error for a request that received no response."""
    error: Exception = type("AnymailRequestsAPIError", (AnymailRequestsAPIError, kind), {})("Error posting")
    return error


def ses_error(status: object) -> Exception:
    """Return django-anymail's error for a response that boto3 received from Amazon SES."""
    response = {"Error": {"Code": "Odd"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = AnymailAPIError("An error occurred", response=response)
    return error


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(451, b"later", "shop@a.example"),
        smtplib.SMTPDataError(452, b"full"),
        smtplib.SMTPResponseException(400, "later"),
        smtplib.SMTPResponseException(499, "later"),
        smtplib_rejection(450),
        smtplib_rejection(550, 451, 550),
        aiosmtplib.SMTPSenderRefused(451, "later", "shop@a.example"),
        aiosmtplib.SMTPDataError(452, "full"),
        aiosmtplib_rejection(450),
        aiosmtplib_rejection(550, 451, 550),
    ],
    ids=repr,
)
def test_a_4xx_reply_is_temporary(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(553, b"no", "shop@a.example"),
        smtplib.SMTPDataError(554, b"no"),
        smtplib.SMTPResponseException(500, "no"),
        smtplib.SMTPResponseException(599, "no"),
        smtplib_rejection(550),
        smtplib_rejection(550, 551, 553),
        aiosmtplib.SMTPSenderRefused(552, "5.3.4 too big", "shop@a.example"),
        aiosmtplib.SMTPDataError(554, "no"),
        aiosmtplib.SMTPResponseException(500, "line too long"),
        aiosmtplib_rejection(550, 553),
    ],
    ids=repr,
)
def test_a_5xx_reply_is_permanent(error: Exception) -> None:
    assert classify_error(error) is FailureKind.PERMANENT


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(421, b"bye", "shop@a.example"),
        smtplib.SMTPDataError(421, b"bye"),
        smtplib.SMTPResponseException(421, "bye"),
        smtplib.SMTPConnectError(421, "bye"),
        smtplib.SMTPHeloError(421, "bye"),
        smtplib.SMTPAuthenticationError(421, "bye"),
        smtplib_rejection(421),
        smtplib_rejection(550, 421),
        aiosmtplib.SMTPDataError(421, "bye"),
        aiosmtplib.SMTPConnectResponseError(421, "bye"),
        aiosmtplib.SMTPHeloError(421, "bye"),
        aiosmtplib.SMTPAuthenticationError(421, "bye"),
        aiosmtplib_rejection(550, 421),
    ],
    ids=repr,
)
def test_a_421_reply_is_temporary(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPResponseException(-1, ""),
        smtplib.SMTPDataError(250, b"?"),
        smtplib.SMTPDataError(600, b"?"),
        smtplib_rejection(),
        aiosmtplib.SMTPResponseException(-1, "Malformed SMTP response line"),
        aiosmtplib_rejection(),
        http_error(200),
        http_error(302),
        AnymailAPIError("unreadable"),
        ses_error("?"),
    ],
    ids=repr,
)
def test_an_unclear_reply_is_temporary(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
        TimeoutError("timed out"),
        ConnectionResetError(),
        ConnectionAbortedError(),
        BrokenPipeError(),
        aiosmtplib.SMTPServerDisconnected("Connection lost"),
        aiosmtplib.SMTPReadTimeoutError("timed out"),
        aiosmtplib.SMTPTimeoutError("timed out"),
        http_failure(requests.ReadTimeout),
        OperationalError("database is locked"),
    ],
    ids=repr,
)
def test_a_broken_connection_is_temporary(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPAuthenticationError(535, "bad login"),
        smtplib.SMTPAuthenticationError(454, "later"),
        smtplib.SMTPNotSupportedError("no STARTTLS"),
        smtplib.SMTPException("No suitable authentication method found."),
        ConnectionRefusedError(),
        socket.gaierror(socket.EAI_NONAME, "no such host"),
        ssl.SSLError("handshake failure"),
        ssl.SSLCertVerificationError("self-signed"),
        OSError("Network is unreachable"),
        aiosmtplib.SMTPConnectError("refused"),
        aiosmtplib.SMTPConnectTimeoutError("timed out"),
        aiosmtplib.SMTPAuthenticationError(535, "bad login"),
        aiosmtplib.SMTPSenderRefused(530, "5.7.0 Must issue a STARTTLS command first", "shop@example.com"),
        aiosmtplib.SMTPSenderRefused(535, "5.7.8 Login first", "shop@example.com"),
        aiosmtplib.SMTPDataError(538, "5.7.11 Encryption required"),
        smtplib_rejection(530),
        aiosmtplib_rejection(534),
        smtplib.SMTPSenderRefused(530, b"5.7.0 Authentication required", "shop@example.com"),
        aiosmtplib.SMTPException("SMTP STARTTLS extension not supported by server."),
        http_failure(requests.ConnectionError),
        http_failure(requests.ConnectTimeout),
        AnymailConfigurationError("no API key"),
        ImproperlyConfigured("no such backend"),
        ModuleNotFoundError("no such backend"),
    ],
    ids=repr,
)
def test_an_error_that_may_affect_all_emails_is_temporary_for_the_email_that_was_being_sent(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad value"),
        UnicodeEncodeError("ascii", "ö", 0, 1, "no"),
        RuntimeError(),
        MemoryError(),
        ExceptionGroup("", [OSError()]),
        AnymailRecipientsRefused(),
        AnymailUnsupportedFeature("no such header"),
    ],
    ids=repr,
)
def test_an_unknown_error_is_permanent_for_its_email_only(error: Exception) -> None:
    assert classify_error(error) is FailureKind.PERMANENT


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPNotSupportedError("SMTPUTF8 not supported by server"),
        aiosmtplib.SMTPNotSupported("SMTPUTF8 is not supported by this server"),
    ],
    ids=repr,
)
def test_a_missing_extension_that_one_email_needs_is_permanent(error: Exception) -> None:
    assert classify_error(error) is FailureKind.PERMANENT


@pytest.mark.parametrize("make_error", [http_error, ses_error])
@pytest.mark.parametrize(
    ("status", "failure_kind"),
    [
        (400, FailureKind.PERMANENT),
        (404, FailureKind.PERMANENT),
        (413, FailureKind.PERMANENT),
        (422, FailureKind.PERMANENT),
        (401, FailureKind.TEMPORARY),
        (403, FailureKind.TEMPORARY),
        (408, FailureKind.TEMPORARY),
        (429, FailureKind.TEMPORARY),
        (500, FailureKind.TEMPORARY),
        (503, FailureKind.TEMPORARY),
    ],
)
def test_classifies_the_http_status_of_an_email_service(
    make_error: Callable[[int], Exception], status: int, failure_kind: FailureKind
) -> None:
    assert classify_error(make_error(status)) is failure_kind


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_a_stopped_process_is_a_temporary_failure(error: BaseException) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY
