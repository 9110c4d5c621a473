"""What a relay said (RFC 5321, or HTTP for a service's API), and what it means. Pure."""

import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiosmtplib

MAX_TEXT_LENGTH = 500  # characters
MAX_REQUESTED_DELAY = timedelta(hours=24)
MAX_PLAUSIBLE_DELAY = timedelta(days=7)  # longer than mail lives anywhere: a number meant otherwise

# Codes that speak of the address alone: "blocked", "full" or "policy" are 5xx too, and pass (RFC 3463, 3.2 and 3.6).
BAD_ADDRESS_CODES = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.5.0"})

# Of the 4xx of HTTP: no login or no right to send (which an operator mends), too slow, too many.
TEMPORARY_HTTP_STATUSES = frozenset({401, 403, 408, 429})


class MessageRejected(aiosmtplib.SMTPDataError):
    """The relay takes this mail for nobody; some `recipients` it had refused before, each in words of its own."""

    def __init__(self, code: int, message: str, recipients: Mapping[str, tuple[int, str]]) -> None:
        """The answer to the mail, and those to recipients."""
        super().__init__(code, message)
        self.recipients = recipients


SENDER_REJECTED = (smtplib.SMTPSenderRefused, aiosmtplib.SMTPSenderRefused)

# Exceptions that hold what a relay answered; a service's API answers in other words.
SMTP_REPLY_ERRORS = (
    smtplib.SMTPResponseException,
    smtplib.SMTPRecipientsRefused,
    aiosmtplib.SMTPResponseException,
    aiosmtplib.SMTPRecipientsRefused,
)

# IronPort writes "#5.1.0". What goes on in digits is an address of the network, "5.1.1.2 is blocked".
_ENHANCED = re.compile(r"#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9]|[A-Za-z])")

# An amount counts only close behind a word that asks for patience: "sent 500 messages in 60 minutes" asks for nothing.
# milter-greylist says "come back in 00:05:00".
_WAIT = re.compile(
    r"\b(?:try|retry|again|back|resend|reconnect|wait|greylist\w*|graylist\w*|deferred|delayed)\b[^0-9.;!?]{0,40}\b"
    r"(?:(?P<clock>[0-9]{1,2}:[0-9]{2}:[0-9]{2})(?![:0-9])"
    r"|(?<!-)(?P<amount>[0-9]+)[\s-]*(?P<unit>s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)(?![a-z]))",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}  # by a unit's first letter


@dataclass(frozen=True)
class Reply:
    """An answer of the relay: its code, and its text made one printable line of no more than 500 characters."""

    code: int
    text: str

    def __post_init__(self) -> None:
        """Make the text fit to be stored, logged and shown: it is a stranger's."""
        object.__setattr__(self, "text", _one_line(self.text[:MAX_TEXT_LENGTH]))

    def __str__(self) -> str:
        """As the relay said it."""
        return f"{self.code} {self.text}".rstrip()

    @property
    def enhanced(self) -> str:
        """The status code of RFC 3463 that the text begins with, such as "5.1.1", or ""."""
        return _enhanced_code(self.text)

    @property
    def is_permanent(self) -> bool:
        """Whether the same would be refused again (5xx)."""
        return 500 <= self.code < 600

    @property
    def requested_delay(self) -> timedelta | None:
        """How long the relay asks to be left alone, 24 hours at most, or None if it names no time or an absurd one."""
        found = _WAIT.search(self.text)
        seconds = _seconds(found) if found else 0
        if not 0 < seconds <= MAX_PLAUSIBLE_DELAY.total_seconds():
            return None
        return min(timedelta(seconds=seconds), MAX_REQUESTED_DELAY)


def is_bad_address(reply: Reply) -> bool:
    """Whether this alone puts the address on the suppression list: refused for good, and for what the address is."""
    return reply.is_permanent and reply.enhanced in BAD_ADDRESS_CODES


def _one_line(text: str) -> str:
    # Each line of a long reply begins with the code again (RFC 2034, 4): once is enough, and a sentence stays whole.
    first, *others = [_printable(line) for line in text.splitlines()] or [""]
    code = _enhanced_code(first)
    return " ".join(line for line in [first, *(other.removeprefix(code).lstrip() for other in others)] if line)


def _printable(line: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())


def _enhanced_code(text: str) -> str:
    found = _ENHANCED.match(text)
    return found[1] if found else ""


def _seconds(found: re.Match[str]) -> int:
    if found["clock"]:
        hours, minutes, seconds = map(int, found["clock"].split(":"))
        return hours * 3600 + minutes * 60 + seconds
    return int(found["amount"]) * _SECONDS[found["unit"][0].lower()]


def reply_from_error(error: BaseException) -> Reply | None:
    """What the relay said, of an exception of smtplib, aiosmtplib or a service's API (django-anymail).

    Of several recipients' replies, it is the one that leaves most hope.
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
    """What an exception says: of SMTP, the reply itself, if there was one that could be read."""
    reply = reply_from_error(error) if isinstance(error, SMTP_REPLY_ERRORS) else None
    return str(reply) if reply and reply.code > 0 else f"{type(error).__name__}: {error}"


def rejections_from(told: BaseException | Mapping[str, tuple[int, str | bytes]]) -> dict[str, Reply]:
    """What the relay said of each recipient that it refused, of an exception or of what `sendmail` gives."""
    match told:
        case smtplib.SMTPRecipientsRefused() | MessageRejected():
            told = told.recipients
        case aiosmtplib.SMTPRecipientsRefused():
            told = {each.recipient: (each.code, each.message) for each in told.recipients}
        case BaseException():
            return {}
    return {address: _reply(code, text) for address, (code, text) in told.items()}


def _reply(code: int, text: str | bytes) -> Reply:
    return Reply(code, text.decode(errors="replace") if isinstance(text, bytes) else text)


def _smtp_code(status: int) -> int:
    """An HTTP status as a relay would put it: only what is wrong with the request itself is final."""
    return 554 if 400 <= status < 500 and status not in TEMPORARY_HTTP_STATUSES else 451
