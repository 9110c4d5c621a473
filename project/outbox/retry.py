"""What a failed try means, and when the next one is due. Pure: the caller brings the time and the dice."""

import smtplib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

DELAYS: tuple[timedelta, ...] = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
SPREAD = 0.1  # of a delay, to either side: mails that failed together do not come back together

SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
DOUBLINGS = 6  # from the shortest pause past the longest; more would overflow after a weekend

SHUTTING_DOWN = 421  # the relay ends the conversation, whatever was asked (RFC 5321, 3.8)

# A conversation that broke off. Never the relay's fault: a mail that makes it hang up each time would stop all others.
BROKEN_OFF = (smtplib.SMTPServerDisconnected, TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
# Answers given before there was talk of any mail.
NOT_ABOUT_MAIL = (smtplib.SMTPConnectError, smtplib.SMTPHeloError, smtplib.SMTPAuthenticationError)


class Fault(StrEnum):
    """Whose fault a failed try is, and whether that may pass."""

    MESSAGE_TRANSIENT = "message_transient"  # try again later
    MESSAGE_PERMANENT = "message_permanent"  # this mail has failed, alone
    RELAY = "relay"  # no mail would go now: the transport pauses, and this try does not count


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
    """Whose fault an exception of smtplib, ssl or the network is; what is unknown fails its own mail and no other."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _fault_of_codes(*(code for code, _ in error.recipients.values()))
    if isinstance(error, smtplib.SMTPResponseException):
        return _fault_of_answer(error)
    if isinstance(error, BROKEN_OFF):
        return Fault.MESSAGE_TRANSIENT
    if isinstance(error, OSError):  # refused, no such host, TLS; the rest of smtplib's own are OSErrors too
        return Fault.RELAY
    if not isinstance(error, Exception):  # cancelled, interrupted: this process was stopped, the mail did nothing
        return Fault.MESSAGE_TRANSIENT
    return Fault.MESSAGE_PERMANENT


def _fault_of_answer(error: smtplib.SMTPResponseException) -> Fault:
    if isinstance(error, NOT_ABOUT_MAIL) and error.smtp_code != SHUTTING_DOWN:
        return Fault.RELAY
    return _fault_of_codes(error.smtp_code)


def _fault_of_codes(*codes: int) -> Fault:
    # Final only if all are: smtplib has -1 for an answer it cannot read, and such a mail gets its chances.
    final = codes and all(500 <= code < 600 for code in codes)
    return Fault.MESSAGE_PERMANENT if final else Fault.MESSAGE_TRANSIENT
