"""An accepted mail, as Django's e-mail backends take it."""

from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from email.mime.base import MIMEBase
from functools import cached_property
from typing import Any, cast

from django.core.mail import EmailAlternative, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend

from project.emails.mime.headers import addr_spec, is_reserved_header
from project.emails.models import Email

ADDRESS_FIELDS = {"to", "cc", "bcc", "reply_to"}  # the addresses with their names, which SMTP has in the source
# What the API of a service says of a recipient (django-anymail's words), as a relay would answer.
REJECTION_BY_STATUS = {
    "invalid": (553, b"5.1.3 The service calls this address invalid"),
    "rejected": (550, b"5.7.1 The service sends nothing to this address"),
    "failed": (451, b"4.3.0 The service could not send to this address"),
}


class _Wire(ParsedMessage):
    """A message that was parsed, and is sent as the very bytes it was parsed from."""

    source = b""

    def as_bytes(self, *args: Any, **kwargs: Any) -> bytes:  # Django's callers pass linesep
        """What was accepted."""
        return self.source


class RawEmailMessage(EmailMultiAlternatives):
    """For SMTP the bytes that were stored at accept; for a service's API the parts that are in them.

    It goes to `recipients` alone, which are fewer than the mail has if others were taken at an earlier try.
    `attempt` is the number of this try, `refused` whom the backend had to leave out, as smtplib tells it.
    """

    def __init__(self, email: Email, connection: BaseEmailBackend, *, recipients: Sequence[str]) -> None:
        to, cc, bcc = ([each for each in field if addr_spec(each) in recipients] for field in (email.to, email.cc, email.bcc))
        super().__init__(
            email.subject, from_email=email.sender, to=to, cc=cc, bcc=bcc, reply_to=email.reply_to, connection=connection
        )
        # Read off the source when a backend asks for them, which one of SMTP does not: see __getattr__.
        del self.body, self.alternatives, self.attachments, self.extra_headers
        self.attempt = email.attempts
        self.refused: dict[str, tuple[int, bytes]] = {}
        self._source = bytes(email.raw_message.content)
        self._envelope = list(recipients)

    def __getattr__(self, name: str) -> Any:
        """The text, the HTML, the files or the headers that the sender asked for."""
        if name not in _READERS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        value = self.__dict__[name] = _READERS[name](self._wire)
        return value

    def recipients(self) -> list[str]:
        """The envelope."""
        return self._envelope

    def message(self, **_kwargs: Any) -> Any:
        """The message itself."""
        return self._wire

    def collect_rejections(self) -> dict[str, tuple[int, bytes]]:
        """Whom the backend left out, and why: by `refused`, or by the status that django-anymail gives each recipient."""
        told = getattr(getattr(self, "anymail_status", None), "recipients", {})
        by_address = {address.lower(): _rejection(each.status, each.message_id) for address, each in told.items()}
        by_status = {each: refusal for each in self._envelope if (refusal := by_address.get(each.lower())) is not None}
        return {**self.refused, **by_status}

    @cached_property
    def _wire(self) -> _Wire:
        wire = cast("_Wire", message_from_bytes(self._source, _Wire, policy=policy.SMTP))
        wire.source = self._source
        return wire


def _rejection(status: str | None, message_id: object) -> tuple[int, bytes] | None:
    # If one address is invalid, Postmark sends to nobody, and says so of that one alone: the others have no id then.
    return REJECTION_BY_STATUS.get("failed" if status == "unknown" and message_id is None else str(status))


def _body_text(wire: _Wire, subtype: str) -> str:
    part = wire.get_body((subtype,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def _body(wire: _Wire) -> str:
    return _body_text(wire, "plain")


def _alternatives(wire: _Wire) -> list[EmailAlternative]:
    html = _body_text(wire, "html")
    return [EmailAlternative(html, "text/html")] if html else []


def _headers(wire: _Wire) -> dict[str, str]:
    own = {name: str(value) for name, value in wire.items() if not is_reserved_header(name)}
    return {"Message-ID": str(wire["Message-ID"]), **own}


def _attachments(wire: _Wire) -> list[MIMEBase]:
    return [_attachment(part) for part in wire.walk() if part.get_content_disposition() in {"attachment", "inline"}]


def _attachment(part: ParsedMessage) -> MIMEBase:
    """A part as the class that Django 5 and its backends know. All that it says of itself stays: a Content-ID, a charset."""
    file = MIMEBase(part.get_content_maintype(), part.get_content_subtype(), policy=part.policy)
    for name, value in part.items():
        del file[name]
        file[name] = value
    file.set_payload(part.get_payload())
    if part.get_content_maintype() == "text" and not _is_decodable(part):
        file.replace_header("Content-Type", "application/octet-stream")  # so does Django, lest a backend fails to read it
    return file


def _is_decodable(part: ParsedMessage) -> bool:
    try:
        cast("bytes", part.get_payload(decode=True)).decode(part.get_content_charset("utf-8"))
    except (UnicodeDecodeError, LookupError):
        return False
    return True


_READERS = {"body": _body, "alternatives": _alternatives, "attachments": _attachments, "extra_headers": _headers}
