"""Taking a mail in. When this is committed, it will be delivered."""

from uuid import UUID

from django.conf import settings
from uuid_utils.compat import uuid7

from project.outbox.models import Email

SUBJECT_LENGTH = 78  # RFC 5322 section 2.1.1: lines should be no longer


def accept_message(*, address: str, text: str) -> UUID:
    """Queue a plain message to one address; its first line is the subject. Gives the e-mail's id."""
    email_id = uuid7()
    Email.objects.create(
        id=email_id,
        sender=settings.DEFAULT_FROM_EMAIL,
        recipients=[address],
        subject=" ".join(text.strip().partition("\n")[0].split())[:SUBJECT_LENGTH],
        text=text,
        message_id=f"<{email_id}@{_domain(settings.DEFAULT_FROM_EMAIL)}>",
    )
    return email_id


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2].rstrip("> ")
