"""The tables: mail on its way, and the embedded mailbox."""

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.emails.status import NOT_SENT, Status


class Email(models.Model):
    """A mail that was accepted. This row, not any task, is the truth about what must be done."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.CharField(max_length=40, blank=True)  # whose it is: Principal.caller_id
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
    template = models.ForeignKey(
        "mail_templates.Template", models.PROTECT, null=True, blank=True
    )  # the version that it was made from
    message_id = models.CharField(max_length=255)
    scheduled_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # for what waits for its time
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.TextField(blank=True)
    recipient_results = models.JSONField(
        default=dict, blank=True
    )  # recipients whose end is not the mail's: project.delivery.decision
    sent_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=32, blank=True)  # the engine that is sending it
    lease_expires_at = models.DateTimeField(null=True, blank=True)  # when its claim ends, should it never be heard of again

    class Meta:
        ordering: ClassVar = ["-id"]  # ids are UUIDv7: in order of time
        verbose_name = "e-mail"
        indexes: ClassVar = [
            models.Index(fields=["owner", "-id"], name="email_owner"),
            # By what SQLite knows again: it does not find the condition `status IN (…)` in a query's parameters.
            models.Index(fields=["next_attempt_at"], condition=models.Q(next_attempt_at__isnull=False), name="email_waiting"),
            # Every status that few mails have, so that they are found among a million that were sent.
            *(models.Index(fields=["-id"], condition=models.Q(status=status), name=f"email_{status}") for status in NOT_SENT),
        ]

    def __str__(self) -> str:
        return f"{self.subject or 'No subject'} ({self.status})"

    @property
    def pending_recipients(self) -> list[str]:
        """The recipients it is still to be sent to."""
        return [address for address in self.recipients if address not in self.recipient_results]

    @property
    def recipient_statuses(self) -> list[dict[str, Any]]:
        """What has become of each recipient so far: its address, status, and what the relay said of it."""
        as_the_mail = {"status": self.status, "smtp_code": None, "response": None}
        return [{"address": address, **self.recipient_results.get(address, as_the_mail)} for address in self.recipients]


class RawMessage(models.Model):
    """The bytes that are sent, made when the mail was accepted (RFC 5322). Beside the row, so that lists need not read them."""

    email = models.OneToOneField(Email, models.CASCADE, primary_key=True, related_name="raw_message")
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"Source of {self.email_id}"


class Recipient(models.Model):
    """That a mail goes to an address: by which it is found."""

    pk = models.CompositePrimaryKey("address", "email_id")
    address = models.CharField(max_length=320)
    email = models.ForeignKey(Email, models.CASCADE)

    def __str__(self) -> str:
        return self.address


class Tag(models.Model):
    """That a mail has a tag: by which it is found."""

    pk = models.CompositePrimaryKey("key", "value", "email_id")
    key = models.CharField(max_length=100)
    value = models.CharField(max_length=100)
    email = models.ForeignKey(Email, models.CASCADE)

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


class IdempotencyKey(models.Model):
    """That a caller has asked for something under this key, and what came of it."""

    owner = models.CharField(max_length=40)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # of the request's body
    response = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["owner", "key"], name="unique_owner_key")]

    def __str__(self) -> str:
        return self.key
