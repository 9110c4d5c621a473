"""The tables of the embedded mailbox."""

from typing import ClassVar

from django.db import models

MAX_TERM_LENGTH = 321


class MailboxMessage(models.Model):
    """A message that was delivered to the embedded mailbox, and never left this machine."""

    received_at = models.DateTimeField(auto_now_add=True)
    message_id = models.CharField(max_length=255, blank=True)
    sender = models.CharField(max_length=320)
    recipients = models.JSONField()
    subject = models.TextField(blank=True)
    text = models.TextField(blank=True)
    source = models.BinaryField()  # the message as it would have been sent over SMTP (RFC 5322)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name = "mailbox message"

    def __str__(self) -> str:
        return self.subject or "No subject"


class MailboxTerm(models.Model):
    """A word of a message's subject, or a recipient's address after an `@`. This table makes messages searchable."""

    pk = models.CompositePrimaryKey("term", "message_id")
    term = models.CharField(max_length=MAX_TERM_LENGTH)
    message = models.ForeignKey(MailboxMessage, models.CASCADE)

    def __str__(self) -> str:
        return self.term
