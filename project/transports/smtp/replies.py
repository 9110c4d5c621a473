"""Parses and interprets a relay's replies (RFC 5321, or HTTP for the API of an email service). Pure."""

import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiosmtplib

MAX_TEXT_LENGTH = 500  # characters
MAX_REQUESTED_DELAY = timedelta(hours=24)
MAX_PLAUSIBLE_DELAY = timedelta(days=7)  # no relay keeps emails longer, so a larger number means something else

# Codes about the address itself. "Blocked", "full" and "policy" are 5xx too, but may change (RFC 3463 sections 3.2 and 3.6).
BAD_ADDRESS_CODES = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.5.0"})

# Temporary HTTP 4xx: authentication or permission missing (an operator can fix it), request timeout, too many requests.
TEMPORARY_HTTP_STATUSES = frozenset({401, 403, 408, 429})


# Replies about the login or TLS (RFC 3207 section 4, RFC 4954 section 6). An operator can fix the cause, so they are temporary.
LOGIN_REQUIRED_CODES = frozenset({530, 534, 535, 538})
# Replies that say nothing about the email: 421 closes the connection (RFC 5321 section 3.8), and 454 means no login or TLS now.
RELAY_CODES = LOGIN_REQUIRED_CODES | {421, 454}


class MessageRejected(aiosmtplib.SMTPDataError):
    """The relay rejected the whole message. `recipients` maps the recipients that it had rejected before to its replies."""

    def __init__(self, code: int, message: str, recipients: Mapping[str, tuple[int, str]]) -> None:
        """Store the reply to the message, and the replies to rejected recipients."""
        super().__init__(code, message)
        self.recipients = recipients


SENDER_REJECTED = (smtplib.SMTPSenderRefused, aiosmtplib.SMTPSenderRefused)

# Exceptions that contain a relay's SMTP reply. Backends for the API of an email service raise other exceptions.
SMTP_REPLY_ERRORS = (
    smtplib.SMTPResponseException,
    smtplib.SMTPRecipientsRefused,
    aiosmtplib.SMTPResponseException,
    aiosmtplib.SMTPRecipientsRefused,
)

# IronPort writes "#5.1.0". With a fourth number, it is an IP address: "5.1.1.2 is blocked".
_ENHANCED = re.compile(r"#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9]|[A-Za-z])")

# A number counts only shortly after a word that asks the client to wait. "Sent 500 messages in 60 minutes" has no such word.
# milter-greylist writes "come back in 00:05:00".
_WAIT = re.compile(
    r"\b(?:try|retry|again|back|resend|reconnect|wait|greylist\w*|graylist\w*|deferred|delayed)\b[^0-9.;!?]{0,40}\b"
    r"(?:(?P<clock>[0-9]{1,2}:[0-9]{2}:[0-9]{2})(?![:0-9])"
    r"|(?<!-)(?P<amount>[0-9]+)[\s-]*(?P<unit>s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)(?![a-z]))",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}  # by the first letter of the unit


@dataclass(frozen=True)
class Reply:
    """A reply of the relay: its code, and its text as one printable line of at most 500 characters."""

    code: int
    text: str

    def __post_init__(self) -> None:
        """Sanitize the text, which is untrusted, for storage, logs and pages."""
        object.__setattr__(self, "text", _one_line(self.text[:MAX_TEXT_LENGTH]))

    def __str__(self) -> str:
        """Return the code and the text, as in SMTP, or the text alone if it is no SMTP reply."""
        return f"{self.code} {self.text}".rstrip() if self.code >= 0 else self.text

    @property
    def enhanced(self) -> str:
        """Return the enhanced status code at the start of the text (RFC 3463), such as "5.1.1", or ""."""
        return _enhanced_code(self.text)

    @property
    def is_permanent(self) -> bool:
        """Return whether another attempt would be rejected again (5xx, except replies about the login)."""
        return 500 <= self.code < 600 and self.code not in LOGIN_REQUIRED_CODES

    @property
    def requested_delay(self) -> timedelta | None:
        """Return how long the relay asks to wait, at most 24 hours, or None if the text names no plausible time."""
        match = _WAIT.search(self.text)
        seconds = _seconds(match) if match else 0
        if not 0 < seconds <= MAX_PLAUSIBLE_DELAY.total_seconds():
            return None
        return min(timedelta(seconds=seconds), MAX_REQUESTED_DELAY)


def is_bad_address(reply: Reply) -> bool:
    """Return whether the reply alone justifies a suppression: it is permanent, and about the address itself."""
    return reply.is_permanent and reply.enhanced in BAD_ADDRESS_CODES


def _one_line(text: str) -> str:
    if text.isprintable() and "  " not in text and text == text.strip():
        return text  # the most common case: the only printable white space is a space
    # Every line of a reply repeats the enhanced code (RFC 2034 section 4). Keep only the first, so that the text stays readable.
    first, *others = [_printable(line) for line in text.splitlines()] or [""]
    code = _enhanced_code(first)
    return " ".join(line for line in [first, *(other.removeprefix(code).lstrip() for other in others)] if line)


def _printable(line: str) -> str:
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    return " ".join(line.split())


def _enhanced_code(text: str) -> str:
    match = _ENHANCED.match(text)
    return match[1] if match else ""


def _seconds(match: re.Match[str]) -> int:
    if match["clock"]:
        hours, minutes, seconds = map(int, match["clock"].split(":"))
        return hours * 3600 + minutes * 60 + seconds
    return int(match["amount"]) * _SECONDS[match["unit"][0].lower()]


def reply_from_error(error: BaseException) -> Reply | None:
    """Return the relay's reply in an exception of smtplib, aiosmtplib or the API of an email service (django-anymail), or None.

    If several recipients were rejected, return the least severe reply.
    """
    if not isinstance(error, MessageRejected) and (rejections := rejections_from(error)):
        return min(rejections.values(), key=lambda reply: (reply.code, reply.text))
    if isinstance(error, smtplib.SMTPResponseException):
        return _reply(error.smtp_code, error.smtp_error)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _reply(error.code, error.message)
    if isinstance(status := getattr(error, "status_code", None), int):
        return _reply(_smtp_code(status), str(error))
    return None


def describe_error(error: Exception) -> str:
    """Return the exception's SMTP reply if it is readable, otherwise the exception's class and text."""
    reply = reply_from_error(error) if isinstance(error, SMTP_REPLY_ERRORS) else None
    return str(reply) if reply and reply.code > 0 else f"{type(error).__name__}: {error}"


def rejections_from(source: BaseException | Mapping[str, tuple[int, str | bytes]]) -> dict[str, Reply]:
    """Return the reply to each rejected recipient, from an exception or from the result of `sendmail`."""
    match source:
        case smtplib.SMTPRecipientsRefused() | MessageRejected():
            source = source.recipients
        case aiosmtplib.SMTPRecipientsRefused():
            source = {each.recipient: (each.code, each.message) for each in source.recipients}
        case BaseException():
            return {}
    return {address: _reply(code, text) for address, (code, text) in source.items()}


def _reply(code: int, text: str | bytes) -> Reply:
    return Reply(code, text.decode(errors="replace") if isinstance(text, bytes) else text)


def _smtp_code(status: int) -> int:
    """Return the SMTP code for an HTTP status: 554 (permanent) for an error in the request itself, otherwise 451 (temporary)."""
    return 554 if 400 <= status < 500 and status not in TEMPORARY_HTTP_STATUSES else 451
