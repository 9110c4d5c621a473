"""Parsing the replies of a relay."""

import smtplib
from collections.abc import Mapping
from datetime import timedelta

import aiosmtplib
import pytest
from anymail.exceptions import AnymailAPIError, AnymailRecipientsRefused  # type: ignore[import-untyped]
from requests import Response

from project.transports.smtp.replies import Reply, describe_error, is_bad_address, rejections_from, reply_from_error

# The text of a reply


@pytest.mark.parametrize(
    ("received", "text"),
    [
        ("2.0.0 Ok: queued as 4F2", "2.0.0 Ok: queued as 4F2"),
        ("", ""),
        ("\r\n", ""),
        ("  a \t b  ", "a b"),
        ("a\r\nb\nc", "a b c"),
        ("a\n\nb", "a b"),
        ("a\u2028b\u00a0c", "a b c"),
        ("\x1b[31mred\x00", "[31mred"),
        ("\u202eesrever", "esrever"),
        ("\udcff?", "?"),
        ("Größe überschritten", "Größe überschritten"),
        ("5.1.1 No such\r\n5.1.1 user\r\n5.1.1", "5.1.1 No such user"),
        ("5.1.1 See\n5.1.2 too", "5.1.1 See 5.1.2 too"),
    ],
)
def test_the_text_is_one_printable_line(received: str, text: str) -> None:
    assert Reply(550, received).text == text


def test_the_text_is_bounded() -> None:
    assert Reply(550, "x" * 100_000).text == "x" * 500


def test_replies_with_the_same_sanitized_text_are_equal() -> None:
    assert Reply(550, "a\nb") == Reply(550, "a b")


# The codes of a reply


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("5.1.1 User unknown", "5.1.1"),
        ("5.1.1", "5.1.1"),
        ("5.1.1: User unknown", "5.1.1"),
        ("5.1.1. User unknown", "5.1.1"),
        ("5.1.1 <a@b.example>: no", "5.1.1"),
        ("#5.1.0 Address rejected", "5.1.0"),
        ("4.7.650 Busy", "4.7.650"),
        ("2.0.0 Ok", "2.0.0"),
        ("", ""),
        ("User unknown 5.1.1", ""),
        ("User unknown", ""),
        ("3.1.1 No such class", ""),
        ("5.1 Short", ""),
        ("5.1.1.2 is blocked", ""),
        ("5.1.1234 Long", ""),
        ("5.1.1b Odd", ""),
        ("٥.١.١ Other digits", ""),
    ],
)
def test_the_enhanced_code_is_read_from_the_start_of_the_text(text: str, enhanced: str) -> None:
    assert Reply(550, text).enhanced == enhanced


@pytest.mark.parametrize(
    ("code", "permanent"),
    [(-1, False), (250, False), (354, False), (400, False), (499, False), (500, True), (599, True), (600, False)],
)
def test_only_5xx_is_permanent(code: int, permanent: bool) -> None:
    assert Reply(code, "").is_permanent == permanent


@pytest.mark.parametrize(
    ("code", "text", "bad"),
    [
        (550, "5.1.1 User unknown", True),
        (550, "5.1.2 Bad domain", True),
        (553, "5.1.3 Bad syntax", True),
        (550, "5.5.0 Mailbox unavailable", True),
        (550, "5.1.10 Null MX", False),
        (550, "5.1.0 Address rejected", False),
        (552, "5.2.2 Mailbox full", False),
        (550, "5.7.1 Blocked by policy", False),
        (550, "User unknown", False),
        (550, "Blocked, see 5.1.1", False),
        (450, "4.1.1 User unknown", False),
        (450, "5.1.1 User unknown", False),
        (250, "5.1.1 Odd", False),
    ],
)
def test_only_a_code_about_the_address_makes_it_a_bad_address(code: int, text: str, bad: bool) -> None:
    assert is_bad_address(Reply(code, text)) is bad


# The requested delay


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4.2.0 <a@b.example>: Recipient address rejected: Greylisted for 300 seconds (see http://x.example/help)", 300),
        ("4.2.0 <a@b1.example>: Greylisted, see http://x.example/help/1.html, try again in 5 minutes", 300),
        ("Greylisted for 5 minutes. Try again later.", 300),
        ("4.7.1 Greylisting in action, please come back in 00:04:59", 299),
        ("4.7.1 Graylisted, 120 seconds left", 120),
        ("4.3.2 Server busy. Please try again after 10 minutes. [AM1EUR01]", 600),
        ("4.7.0 Temporarily deferred; retry after 60 s", 60),
        ("retry after 300s", 300),
        ("Retry-After: 90 sec", 90),
        ("Please retry in 5 min", 300),
        ("PLEASE TRY AGAIN IN 1 HOUR", 3600),
        ("try again in about 2 hrs", 7200),
        ("please wait 15 mins", 900),
        ("wait at least 1 minute(s)", 60),
        ("reconnect in 30 secs", 30),
        ("delayed for 1 second", 1),
        ("resend in 2 h", 7200),
        ("retry in 5-minutes", 300),
        ("4.7.1 Greylisted, please try\r\n4.7.1 again in 5\r\n4.7.1 minutes", 300),
    ],
)
def test_reads_the_requested_delay(text: str, seconds: int) -> None:
    assert Reply(451, text).requested_delay == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4.7.1 Try again later",
        "Please come back in a few minutes",
        "retry after 300",
        "retry in 300 ms",
        "retry in 5 messages",
        "Too many errors: 500 messages in 60 minutes",
        "Try again later: 500 messages in 60 minutes is too many",
        "Try again later. Up for 3 hours",
        "Country 5 min",
        "Try again at 12:30",
    ],
)
def test_a_text_without_a_time_requests_no_delay(text: str) -> None:
    assert Reply(451, text).requested_delay is None


@pytest.mark.parametrize(("text", "hours"), [("retry in 24 hours", 24), ("retry in 25 hours", 24), ("retry in 168 hours", 24)])
def test_a_requested_delay_is_limited_to_a_day(text: str, hours: int) -> None:
    assert Reply(451, text).requested_delay == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text",
    ["retry in 0 seconds", "come back in 00:00:00", "retry in 169 hours", f"retry in {'9' * 400} hours", "retry in -5 min"],
)
def test_ignores_an_implausible_delay(text: str) -> None:
    assert Reply(451, text).requested_delay is None


# Exceptions


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (smtplib.SMTPDataError(451, b"4.3.0 try later"), Reply(451, "4.3.0 try later")),
        (smtplib.SMTPConnectError(554, "no"), Reply(554, "no")),
        (
            smtplib.SMTPRecipientsRefused({"a@b.c": (550, b"5.1.1 no such"), "d@e.f": (451, b"4.2.0 gr\xffey")}),
            Reply(451, "4.2.0 gr\ufffdey"),
        ),
        (smtplib.SMTPRecipientsRefused({}), None),
        (smtplib.SMTPServerDisconnected("gone"), None),
        (aiosmtplib.SMTPDataError(451, "4.3.0 try later"), Reply(451, "4.3.0 try later")),
        (aiosmtplib.SMTPConnectResponseError(554, "no"), Reply(554, "no")),
        (aiosmtplib.SMTPSenderRefused(550, "5.7.1 no\n5.7.1 way", "shop@a.example"), Reply(550, "5.7.1 no way")),
        (
            aiosmtplib.SMTPRecipientsRefused(
                [
                    aiosmtplib.SMTPRecipientRefused(550, "5.1.1 no such", "a@b.c"),
                    aiosmtplib.SMTPRecipientRefused(451, "4.2.0 grey", "d@e.f"),
                ]
            ),
            Reply(451, "4.2.0 grey"),
        ),
        (aiosmtplib.SMTPServerDisconnected("gone"), None),
        (AnymailRecipientsRefused(), None),
        (ValueError("no mail"), None),
    ],
)
def test_reads_the_reply_from_an_exception(error: Exception, reply: Reply | None) -> None:
    assert reply_from_error(error) == reply


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 554), (404, 554), (413, 554), (422, 554), (401, 451), (403, 451), (408, 451), (429, 451), (500, 451), (503, 451)],
)
def test_converts_an_http_status_to_an_smtp_code(status: int, code: int) -> None:
    response = Response()
    response.status_code, response.reason, response._content = status, "Why", b'{"message":\n"Not so"}'

    reply = reply_from_error(AnymailAPIError(status_code=status, response=response, esp_name="Mailgun"))

    assert reply == Reply(code, f'Mailgun API response {status} (Why): {{ "message": "Not so" }}')


@pytest.mark.parametrize(
    "source",
    [
        smtplib.SMTPRecipientsRefused({"a@b.c": (550, b"5.1.1 no \xff"), "d@e.f": (451, b"later")}),
        aiosmtplib.SMTPRecipientsRefused(
            [
                aiosmtplib.SMTPRecipientRefused(550, "5.1.1 no \ufffd", "a@b.c"),
                aiosmtplib.SMTPRecipientRefused(451, "later", "d@e.f"),
            ]
        ),
        {"a@b.c": (550, b"5.1.1 no \xff"), "d@e.f": (451, b"later")},
        {"a@b.c": aiosmtplib.SMTPResponse(550, "5.1.1 no \ufffd"), "d@e.f": aiosmtplib.SMTPResponse(451, "later")},
    ],
    ids=["smtplib", "aiosmtplib", "sendmail", "aiosmtplib.sendmail"],
)
def test_reads_the_reply_to_each_rejected_recipient(source: BaseException | Mapping[str, tuple[int, str | bytes]]) -> None:
    assert rejections_from(source) == {"a@b.c": Reply(550, "5.1.1 no \ufffd"), "d@e.f": Reply(451, "later")}


@pytest.mark.parametrize("source", [{}, smtplib.SMTPDataError(554, b"no"), aiosmtplib.SMTPDataError(554, "no"), ValueError()])
def test_there_may_be_no_rejected_recipients(source: BaseException | Mapping[str, tuple[int, str | bytes]]) -> None:
    assert rejections_from(source) == {}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (smtplib.SMTPRecipientsRefused({"a@b.c": (550, b"5.1.1 No such mailbox")}), "550 5.1.1 No such mailbox"),
        (aiosmtplib.SMTPDataError(552, "5.3.4 Too\nbig"), "552 5.3.4 Too big"),
        (smtplib.SMTPSenderRefused(550, b"5.7.1 Not you", "a@b.c"), "550 5.7.1 Not you"),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 No"), "535 5.7.8 No"),
        (smtplib.SMTPDataError(451, b""), "451"),
        (aiosmtplib.SMTPServerDisconnected("Connection lost"), "SMTPServerDisconnected: Connection lost"),
        (ConnectionRefusedError("refused"), "ConnectionRefusedError: refused"),
    ],
)
def test_describes_an_error_by_its_reply_or_its_class(error: Exception, text: str) -> None:
    assert describe_error(error) == text
