"""Reasons of failures: replies of the relay without the parts that differ from email to email. Pure.

Emails that failed for the same cause have the same reason, so that they can be counted, filtered and retried together.
"""

import re
from collections.abc import Iterable

MAX_REASON_LENGTH = 200  # characters
SUPPRESSED = "On the suppression list"  # reason of a recipient that was skipped
NO_REPLY = "No reply"
_MAX_ERROR_LENGTH = 1000  # characters that are read
_PYTHON_SMTP_ERROR = re.compile(r"\((\d{3}), b?(['\"])(.*?)\2\)")  # an SMTP reply as Python prints it in an exception
# SMTP codes, enhanced codes (RFC 3463) and HTTP statuses are kept. All other parts that identify one email, recipient, server or
# moment are replaced: URLs, email addresses, IP addresses, host names, times, numbers, and queue ids (long words with a digit).
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_TIME_OF_DAY = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\ ?(?:Z|[A-Z]{3,4}|[+-]\d\d:?\d\d))?(?!\w)"
_PARTS = re.compile(
    rf"""(?P<kept>
        ^\d{{3}}(?![\w.])
      | (?<![\w.])[245]\d\d(?=[ -]\#?[245]\.\d{{1,3}}\.\d{{1,3}}(?![\w.]))
      | (?<![\w.])[245]\.\d{{1,3}}\.\d{{1,3}}(?![\w.]*\w)
      | \b(?:said:\ ?|HTTP\ |status\ |code\ |error\ )\d{{3}}(?!\w)
    )
      | \b\d{{4}}-\d\d-\d\d[T ]{_TIME_OF_DAY}
      | \b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\ )?\d{{1,2}}[ -](?:{_MONTHS})[ -]\d{{4}}(?:\ {_TIME_OF_DAY})?(?!\w)
      | \b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\ )?(?:{_MONTHS})\ +\d{{1,2}}\ {_TIME_OF_DAY}(?:\ \d{{4}})?(?!\w)
      | \bhttps?://[^\s<>()"]+
      | <?(?:"[^"]*"|[^\s<>()\[\]{{}}"':;,=]+)@[^\s<>()\[\]{{}}"':;,]+>?
      | \[(?:IPv6:)?[0-9a-f.:]{{3,}}\]
      | (?<![\w:])(?:[0-9a-f]{{0,4}}:){{2,7}}[0-9a-f]{{0,4}}(?![\w:])
      | (?:[\w-]+\.)+[a-z]{{2,}}(?!\w)\.?
      | (?=[\w=+/#.-]*\d)[\w=+/#.-]{{7,}}\w
      | (?<![\w-])\d+(?:[.,]\d+)*(?!\w)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Words that are also local parts, as in "Mailbox full" to full@example.com. They are kept.
_REPLY_WORDS = frozenset(
    re.findall(
        r"\w+",
        "account address blocked box disabled email error full host inactive info invalid local mail mailbox message name not"
        " postmaster quota recipient rejected sender server service spam support suspended system unknown user",
    )
)
# A local part that consists of letters only is replaced only where relays name a mailbox: in quotes or brackets, after a colon or
# after "user", or before "...". Elsewhere it may be an ordinary word.
_BEFORE_NAME = r"""(?:(?<=[<("'\[])|(?<=:\ )|(?<=user\ )|(?<=recipient\ )|(?<=account\ )|(?<=mailbox\ )|(?<=address\ ))"""
_REPEATED = re.compile(r"…(?:[\s.:/_=-]*…)+")


def failure_reason(error: str, recipients: Iterable[str] = ()) -> str:
    """Return the reason for an error: one line of at most `MAX_REASON_LENGTH` characters, with "…" for each replaced part.

    The local parts of `recipients` are replaced too, because some relays name a mailbox without its domain.
    """
    text = " ".join(error[:_MAX_ERROR_LENGTH].split())
    if match := _PYTHON_SMTP_ERROR.search(text):
        text = f"{match[1]} {match[3]}"
    for name in sorted({address.rpartition("@")[0].lower() for address in recipients} - _REPLY_WORDS):
        text = _replace_name(text, re.escape(name), is_word=name.isalpha())
    text = _PARTS.sub(lambda match: match["kept"] or "…", text)
    return _REPEATED.sub("…", text).strip()[:MAX_REASON_LENGTH] or NO_REPLY


def _replace_name(text: str, name: str, *, is_word: bool) -> str:
    """Replace a local part. `name` is escaped for the pattern."""
    anywhere = rf"(?<![\w…]){name}(?!\w)"
    named = rf"{_BEFORE_NAME}{name}(?!\w)|(?<!\w){name}(?=\.\.\.)"
    return re.sub(named if is_word else anywhere, "…", text, flags=re.IGNORECASE | re.VERBOSE if is_word else re.IGNORECASE)
