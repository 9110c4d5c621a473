"""The tables: mail on its way, and the embedded mailbox."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.outbox.states import WAITING_FOR_ITS_TIME, Status


class Email(models.Model):
    """A mail that was accepted. This row, not any task, is the truth about what must be done."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    caller = models.CharField(max_length=40, blank=True)  # whose it is: Principal.caller_id
    created_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Status], default=Status.QUEUED)
    sender = models.CharField(max_length=320)
    to = models.JSONField(default=list)  # as they were given, with names
    cc = models.JSONField(default=list, blank=True)
    bcc = models.JSONField(default=list, blank=True)
    reply_to = models.JSONField(default=list, blank=True)
    recipients = models.JSONField()  # the bare addresses of all three, once each: the envelope
    subject = models.CharField(max_length=998)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    message_id = models.CharField(max_length=255)
    scheduled_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # for what waits for its time
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=32, blank=True)  # the engine that is sending it
    lease_until = models.DateTimeField(null=True, blank=True)  # when its claim ends, should it never be heard of again

    class Meta:
        ordering: ClassVar = ["-id"]  # ids are UUIDv7: in order of time
        verbose_name = "e-mail"
        indexes: ClassVar = [
            models.Index(fields=["caller", "-id"], name="email_caller"),
            models.Index(fields=["id"], condition=models.Q(status=Status.QUEUED), name="email_queued"),
            models.Index(fields=["next_attempt_at"], condition=models.Q(status__in=WAITING_FOR_ITS_TIME), name="email_waiting"),
            models.Index(fields=["lease_until"], condition=models.Q(status=Status.SENDING), name="email_sending"),
        ]

    def __str__(self) -> str:
        return f"{self.subject or 'No subject'} ({self.status})"


class Source(models.Model):
    """The bytes that are sent, made when the mail was accepted (RFC 5322). Beside the row, so that lists need not read them."""

    email = models.OneToOneField(Email, models.CASCADE, primary_key=True)
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"Source of {self.email_id}"


class Event(models.Model):
    """Something that happened to a mail: one for each change of its status, and never changed itself."""

    email = models.ForeignKey(Email, models.CASCADE, related_name="events")
    type = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.type


class IdempotencyKey(models.Model):
    """That a caller has asked for something under this key, and what came of it."""

    caller = models.CharField(max_length=40)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # of the request's body
    answer = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["caller", "key"], name="one_per_caller_and_key")]

    def __str__(self) -> str:
        return self.key


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
