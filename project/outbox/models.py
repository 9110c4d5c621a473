"""The tables: mail on its way, and the embedded mailbox."""

from typing import ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from project.outbox.states import Status


class Email(models.Model):
    """A mail that was accepted. This row, not any task, is the truth about what must be done."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    status = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Status], default=Status.QUEUED)
    sender = models.CharField(max_length=320)
    recipients = models.JSONField()
    subject = models.CharField(max_length=998)
    text = models.TextField()
    message_id = models.CharField(max_length=255)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=32, blank=True)  # the engine that is sending it
    lease_until = models.DateTimeField(null=True, blank=True)  # when its claim ends, should it never be heard of again

    class Meta:
        ordering: ClassVar = ["-id"]  # ids are UUIDv7: in order of time
        verbose_name = "e-mail"
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=models.Q(status=Status.QUEUED), name="email_queued"),
            models.Index(fields=["lease_until"], condition=models.Q(status=Status.SENDING), name="email_sending"),
        ]

    def __str__(self) -> str:
        return f"{self.subject or 'No subject'} ({self.status})"


class MailboxMessage(models.Model):
    """A mail that came out at the embedded mailbox: it never left this machine."""

    received_at = models.DateTimeField(auto_now_add=True)
    message_id = models.CharField(max_length=255, blank=True)
    sender = models.CharField(max_length=320)
    recipients = models.JSONField()
    subject = models.TextField(blank=True)
    text = models.TextField(blank=True)
    source = models.BinaryField()  # the message as it would have gone over the wire (RFC 5322)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name = "mailbox message"

    def __str__(self) -> str:
        return self.subject or "No subject"
