"""An email of the queue as a Django `EmailMessage`, for Django's email backends."""

from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from email.mime.base import MIMEBase
from functools import cached_property
from typing import Any, cast

from django.core.mail import EmailAlternative, EmailMultiAlternatives

from project.emails.mime.custom_headers import is_reserved_header
from project.emails.mime.headers import addr_spec
from project.emails.models import Email

# Addresses with display names. A claim does not load these fields, because SMTP needs only the raw message.
ADDRESS_FIELDS = {"to", "cc", "bcc", "reply_to"}
# The SMTP replies that stand for django-anymail's recipient statuses.
REJECTION_BY_STATUS = {
    "invalid": (553, b"5.1.3 The service reports that this address is invalid"),
    "rejected": (550, b"5.7.1 The service rejected this address"),
    "failed": (451, b"4.3.0 The service could not send to this address"),
}


class _RawMessage(ParsedMessage):
    """A parsed message that serializes to exactly the bytes it was parsed from."""

    source = b""

    def as_bytes(self, *args: Any, **kwargs: Any) -> bytes:  # Django's callers pass linesep
        """Return the stored bytes."""
        return self.source


class RawEmailMessage(EmailMultiAlternatives):
    """A Django email message made from the stored message bytes. SMTP backends send these bytes; API backends read the parts.

    The message is sent only to `recipients`; recipients with a final result from an earlier attempt are left out. `attempt` is
    the number of this attempt; `rejected` contains the recipients that the backend could not send to, in the form that
    smtplib's `sendmail` returns.
    """

    def __init__(self, email: Email, *, recipients: Sequence[str]) -> None:
        to, cc, bcc = ([each for each in field if addr_spec(each) in recipients] for field in (email.to, email.cc, email.bcc))
        super().__init__(email.subject, from_email=email.sender, to=to, cc=cc, bcc=bcc, reply_to=email.reply_to)
        # These attributes are parsed when a backend reads them (see __getattr__). SMTP backends never read them.
        del self.body, self.alternatives, self.attachments, self.extra_headers
        self.attempt = email.attempts
        self.rejected: dict[str, tuple[int, bytes]] = {}
        self._source = bytes(email.raw_message.content)
        self._envelope = list(recipients)

    def __getattr__(self, name: str) -> Any:
        """Parse the text body, the HTML, the attachments or the custom headers at first access."""
        if name not in _PARSERS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        value = self.__dict__[name] = _PARSERS[name](self._mime)
        return value

    def recipients(self) -> list[str]:
        """Return the envelope recipients."""
        return self._envelope

    def message(self, **_kwargs: Any) -> Any:
        """Return the MIME message."""
        return self._mime

    def collect_rejections(self) -> dict[str, tuple[int, bytes]]:
        """Return the rejected recipients with their replies, from `rejected` and from django-anymail's recipient statuses."""
        statuses = getattr(getattr(self, "anymail_status", None), "recipients", {})
        by_address = {address.lower(): _rejection(each.status, each.message_id) for address, each in statuses.items()}
        by_status = {each: rejection for each in self._envelope if (rejection := by_address.get(each.lower())) is not None}
        return {**self.rejected, **by_status}

    @cached_property
    def _mime(self) -> _RawMessage:
        mime = cast("_RawMessage", message_from_bytes(self._source, _RawMessage, policy=policy.SMTP))
        mime.source = self._source
        return mime


def text_of(content: bytes) -> str:
    """Return the plain text of a stored message, or an empty string if the message has none."""
    return _body(cast("_RawMessage", message_from_bytes(content, _RawMessage, policy=policy.SMTP)))


def _rejection(status: str | None, message_id: object) -> tuple[int, bytes] | None:
    # If one address is invalid, Postmark sends to no recipient and reports only that address. The other recipients then have no
    # message id.
    return REJECTION_BY_STATUS.get("failed" if status == "unknown" and message_id is None else str(status))


def _body_text(mime: _RawMessage, subtype: str) -> str:
    part = mime.get_body((subtype,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def _body(mime: _RawMessage) -> str:
    return _body_text(mime, "plain")


def _alternatives(mime: _RawMessage) -> list[EmailAlternative]:
    html = _body_text(mime, "html")
    return [EmailAlternative(html, "text/html")] if html else []


def _headers(mime: _RawMessage) -> dict[str, str]:
    own = {name: str(value) for name, value in mime.items() if not is_reserved_header(name)}
    return {"Message-ID": str(mime["Message-ID"]), **own}


def _attachments(mime: _RawMessage) -> list[MIMEBase]:
    # Backends for email services accept no other alternatives than HTML, so an invitation is a file there.
    return [
        _attachment(part)
        for part in mime.walk()
        if part.get_content_disposition() in {"attachment", "inline"} or part.get_content_type() == "text/calendar"
    ]


def _attachment(part: ParsedMessage) -> MIMEBase:
    """Return a part as `MIMEBase`, which Django 5 and its backends expect, with all its headers, such as Content-ID."""
    attachment = MIMEBase(part.get_content_maintype(), part.get_content_subtype(), policy=part.policy)
    for name, value in part.items():
        del attachment[name]
        attachment[name] = value
    attachment.set_payload(part.get_payload())
    # A backend may fail to decode this text. Django changes the content type of such attachments too.
    if part.get_content_maintype() == "text" and not _is_decodable(part):
        attachment.replace_header("Content-Type", "application/octet-stream")
    return attachment


def _is_decodable(part: ParsedMessage) -> bool:
    try:
        cast("bytes", part.get_payload(decode=True)).decode(part.get_content_charset("utf-8"))
    except (UnicodeDecodeError, LookupError):
        return False
    return True


_PARSERS = {"body": _body, "alternatives": _alternatives, "attachments": _attachments, "extra_headers": _headers}
