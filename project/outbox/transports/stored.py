"""An accepted mail, as Django's e-mail backends take it."""

from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage
from typing import Any, cast

from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend

from project.outbox.models import Email


class _Wire(ParsedMessage):
    """A message that was parsed, and is sent as the very bytes it was parsed from."""

    source = b""

    def as_bytes(self, *args: Any, **kwargs: Any) -> bytes:  # Django's callers pass linesep
        """What was accepted."""
        return self.source


class StoredMessage(EmailMultiAlternatives):
    """For SMTP the bytes that were stored at accept; for a service's API the parts they were made from."""

    def __init__(self, email: Email, connection: BaseEmailBackend) -> None:
        super().__init__(
            subject=email.subject,
            body=email.text,
            from_email=email.sender,
            to=email.to,
            cc=email.cc,
            bcc=email.bcc,
            reply_to=email.reply_to,
            headers={"Message-ID": email.message_id},
            connection=connection,
        )
        if email.html:
            self.attach_alternative(email.html, "text/html")
        self._source = bytes(email.source.content)
        self._envelope = list(email.recipients)

    def recipients(self) -> list[str]:
        """The envelope."""
        return self._envelope

    def message(self, **_kwargs: Any) -> Any:
        """The message itself."""
        wire = cast("_Wire", message_from_bytes(self._source, _Wire, policy=policy.SMTP))
        wire.source = self._source
        return wire
