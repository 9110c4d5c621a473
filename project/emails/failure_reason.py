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
# moment are replaced: URLs, email addresses, IP addresses, host names, numbers, and queue ids (long words with a digit).
_PARTS = re.compile(
    r"""(?P<kept>
        ^\d{3}(?![\w.])
      | (?<![\w.])[245]\d\d(?=[ -]\#?[245]\.\d{1,3}\.\d{1,3}(?![\w.]))
      | (?<![\w.])[245]\.\d{1,3}\.\d{1,3}(?![\w.]*\w)
      | \b(?:said:\ ?|HTTP\ |status\ |code\ |error\ )\d{3}(?!\w)
    )
      | \bhttps?://[^\s<>()"]+
      | <?(?:"[^"]*"|[^\s<>()\[\]{}"':;,=]+)@[^\s<>()\[\]{}"':;,]+>?
      | \[(?:IPv6:)?[0-9a-f.:]{3,}\]
      | (?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])
      | (?:[\w-]+\.)+[a-z]{2,}(?!\w)\.?
      | (?=[\w=+/#.-]*\d)[\w=+/#.-]{7,}\w
      | (?<![\w-])\d+(?:[.,]\d+)*(?!\w)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Local parts that are kept, because they are ordinary words of replies: "No such user" is the same cause for user@example.com.
_REPLY_WORDS = frozenset(
    "account address email host mail mailbox message recipient sender server service user".split()  # noqa: SIM905
)
_REPEATED = re.compile(r"…(?:[\s.:/_=-]*…)+")


def failure_reason(error: str, recipients: Iterable[str] = ()) -> str:
    """Return the reason for an error: one line of at most `MAX_REASON_LENGTH` characters, with "…" for each replaced part.

    The local parts of `recipients` are replaced too, because some relays name a mailbox without its domain.
    """
    text = " ".join(error[:_MAX_ERROR_LENGTH].split())
    if match := _PYTHON_SMTP_ERROR.search(text):
        text = f"{match[1]} {match[3]}"
    text = _PARTS.sub(lambda match: match["kept"] or "…", text)
    names = {address.rpartition("@")[0].lower() for address in recipients} - _REPLY_WORDS
    if names := {re.escape(name) for name in names if len(name) > 1}:
        text = re.sub(rf"(?<![\w…])(?:{'|'.join(sorted(names))})(?!\w)", "…", text, flags=re.IGNORECASE)
    return _REPEATED.sub("…", text).strip()[:MAX_REASON_LENGTH] or NO_REPLY
