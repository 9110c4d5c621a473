"""Whose fault a failed try is, and when the next one is due."""

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
from project.transports.smtp.error_classes import FailureKind, classify_error

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
MIDDLE = 0.5  # the dice that move nothing

# The next attempt


@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(1, 1), (2, 5), (3, 15), (4, 60), (5, 240), (6, 720), (7, 1440)],
)
def test_each_try_waits_longer(attempts: int, minutes: int) -> None:
    assert next_attempt(attempts=attempts, now=NOW, jitter=MIDDLE) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize("attempts", [len(DEFAULT_RETRY_DELAYS) + 1, len(DEFAULT_RETRY_DELAYS) + 2, 10_000])
def test_gives_up_when_the_delays_are_used_up(attempts: int) -> None:
    assert next_attempt(attempts=attempts, now=NOW, asked=timedelta(minutes=1), jitter=MIDDLE) is None


def test_no_delays_are_no_second_chance() -> None:
    assert next_attempt(attempts=1, now=NOW, delays=[], jitter=MIDDLE) is None


def test_the_delays_may_be_others() -> None:
    assert next_attempt(attempts=2, now=NOW, delays=[timedelta(0), timedelta(days=3)], jitter=MIDDLE) == NOW + timedelta(days=3)


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 54), (0.25, 57), (0.5, 60), (0.75, 63)])
def test_jitter_spreads_a_delay(jitter: float, seconds: int) -> None:
    assert next_attempt(attempts=1, now=NOW, jitter=jitter) == NOW + timedelta(seconds=seconds)


def test_jitter_spreads_by_a_tenth_at_most() -> None:
    due = next_attempt(attempts=1, now=NOW, jitter=0.999_999)

    assert due is not None
    assert timedelta(seconds=65.9) < due - NOW <= timedelta(seconds=66)


@pytest.mark.parametrize(
    ("asked", "jitter", "seconds"),
    [(300, 0.0, 300), (300, 0.9, 300), (60, 0.0, 60), (60, 0.75, 63), (1, MIDDLE, 60), (0, MIDDLE, 60)],
)
def test_never_sooner_than_asked(asked: int, jitter: float, seconds: int) -> None:
    due = next_attempt(attempts=1, now=NOW, asked=timedelta(seconds=asked), jitter=jitter)

    assert due == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("attempts", "jitter"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1), (1, float("nan"))])
def test_refuses_what_cannot_be(attempts: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="-th try"):
        next_attempt(attempts=attempts, now=NOW, jitter=jitter)


# The pause of the transport


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300), (10**9, 300)],
)
def test_pauses_double_up_to_five_minutes(failures: int, seconds: int) -> None:
    assert pause_after(failures, now=NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("failures", [0, -1])
def test_no_pause_without_a_failure(failures: int) -> None:
    with pytest.raises(ValueError, match="No pause"):
        pause_after(failures, now=NOW)


# Whose fault


def refused(*codes: int) -> smtplib.SMTPRecipientsRefused:
    """A refusal of as many recipients as there are codes."""
    return smtplib.SMTPRecipientsRefused({f"{number}@b.example": (code, b"no") for number, code in enumerate(codes)})


def aio_refused(*codes: int) -> aiosmtplib.SMTPRecipientsRefused:
    """The same, as aiosmtplib tells it."""
    return aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(code, "no", "a@b.example") for code in codes])


def answered(status: int) -> Exception:
    """A service's API answered with this."""
    response = requests.Response()
    response.status_code = status
    error: Exception = AnymailRequestsAPIError(response=response)
    return error


def unanswered(kind: type[Exception]) -> Exception:
    """A service's API did not, as django-anymail tells it."""
    error: Exception = type("AnymailRequestsAPIError", (AnymailRequestsAPIError, kind), {})("Error posting")
    return error


def ses(status: object) -> Exception:
    """Amazon SES answered with this, through boto3."""
    answer = {"Error": {"Code": "Odd"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = AnymailAPIError("An error occurred", response=answer)
    return error


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(451, b"later", "shop@a.example"),
        smtplib.SMTPDataError(452, b"full"),
        smtplib.SMTPResponseException(400, "later"),
        smtplib.SMTPResponseException(499, "later"),
        refused(450),
        refused(550, 451, 550),
        aiosmtplib.SMTPSenderRefused(451, "later", "shop@a.example"),
        aiosmtplib.SMTPDataError(452, "full"),
        aio_refused(450),
        aio_refused(550, 451, 550),
    ],
    ids=repr,
)
def test_4xx_may_pass(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(553, b"no", "shop@a.example"),
        smtplib.SMTPDataError(554, b"no"),
        smtplib.SMTPResponseException(500, "no"),
        smtplib.SMTPResponseException(599, "no"),
        refused(550),
        refused(550, 551, 553),
        aiosmtplib.SMTPSenderRefused(552, "5.3.4 too big", "shop@a.example"),
        aiosmtplib.SMTPDataError(554, "no"),
        aiosmtplib.SMTPResponseException(500, "line too long"),
        aio_refused(550, 553),
    ],
    ids=repr,
)
def test_5xx_is_final(error: Exception) -> None:
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
        refused(421),
        refused(550, 421),
        aiosmtplib.SMTPDataError(421, "bye"),
        aiosmtplib.SMTPConnectResponseError(421, "bye"),
        aiosmtplib.SMTPHeloError(421, "bye"),
        aiosmtplib.SMTPAuthenticationError(421, "bye"),
        aio_refused(550, 421),
    ],
    ids=repr,
)
def test_421_is_one_conversation_ended(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPResponseException(-1, ""),
        smtplib.SMTPDataError(250, b"?"),
        smtplib.SMTPDataError(600, b"?"),
        refused(),
        aiosmtplib.SMTPResponseException(-1, "Malformed SMTP response line"),
        aio_refused(),
        answered(200),
        answered(302),
        AnymailAPIError("unreadable"),
        ses("?"),
    ],
    ids=repr,
)
def test_an_answer_that_says_nothing_is_not_final(error: Exception) -> None:
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
        unanswered(requests.ReadTimeout),
        OperationalError("database is locked"),
    ],
    ids=repr,
)
def test_a_conversation_that_broke_off_may_be_had_again(error: Exception) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPConnectError(554, "no"),
        smtplib.SMTPHeloError(550, "no"),
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
        aiosmtplib.SMTPConnectResponseError(554, "no"),
        aiosmtplib.SMTPHeloError(550, "no"),
        aiosmtplib.SMTPAuthenticationError(535, "bad login"),
        aiosmtplib.SMTPSenderRefused(530, "5.7.0 Must issue a STARTTLS command first", "shop@example.com"),
        smtplib.SMTPSenderRefused(530, b"5.7.0 Authentication required", "shop@example.com"),
        aiosmtplib.SMTPException("SMTP STARTTLS extension not supported by server."),
        unanswered(requests.ConnectionError),
        unanswered(requests.ConnectTimeout),
        AnymailConfigurationError("no API key"),
        ImproperlyConfigured("no such backend"),
        ModuleNotFoundError("no such backend"),
    ],
    ids=repr,
)
def test_the_relay_is_wrong_for_every_mail(error: Exception) -> None:
    assert classify_error(error) is FailureKind.RELAY_UNAVAILABLE


@pytest.mark.parametrize(
    "error",
    [
        ValueError("poison"),
        UnicodeEncodeError("ascii", "ö", 0, 1, "no"),
        RuntimeError(),
        MemoryError(),
        ExceptionGroup("", [OSError()]),
        AnymailRecipientsRefused(),
        AnymailUnsupportedFeature("no such header"),
    ],
    ids=repr,
)
def test_a_poisonous_mail_fails_alone(error: Exception) -> None:
    assert classify_error(error) is FailureKind.PERMANENT


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPNotSupportedError("SMTPUTF8 not supported by server"),
        aiosmtplib.SMTPNotSupported("SMTPUTF8 is not supported by this server"),
    ],
    ids=repr,
)
def test_what_one_mail_needs_is_its_own_fault(error: Exception) -> None:
    assert classify_error(error) is FailureKind.PERMANENT


@pytest.mark.parametrize("answer", [answered, ses])
@pytest.mark.parametrize(
    ("status", "failure_kind"),
    [
        (400, FailureKind.PERMANENT),
        (404, FailureKind.PERMANENT),
        (413, FailureKind.PERMANENT),
        (422, FailureKind.PERMANENT),
        (401, FailureKind.RELAY_UNAVAILABLE),
        (403, FailureKind.TEMPORARY),
        (408, FailureKind.TEMPORARY),
        (429, FailureKind.TEMPORARY),
        (500, FailureKind.TEMPORARY),
        (503, FailureKind.TEMPORARY),
    ],
)
def test_a_services_status_says_whose_fault_it_is(
    answer: Callable[[int], Exception], status: int, failure_kind: FailureKind
) -> None:
    assert classify_error(answer(status)) is failure_kind


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_a_stopped_process_fails_no_mail(error: BaseException) -> None:
    assert classify_error(error) is FailureKind.TEMPORARY
