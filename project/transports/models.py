"""The table of the embedded mailbox."""

from typing import ClassVar

from django.db import models


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
