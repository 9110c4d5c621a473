"""The tables: mail on its way, and the embedded mailbox."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.outbox.states import PASSING, Status


class Template(models.Model):
    """One version of a template, in Liquid. It is never changed: an edit makes the next, so that what was sent can be told."""

    slug = models.SlugField(max_length=100)
    version = models.PositiveIntegerField()
    is_current = models.BooleanField(default=True)  # no version is, once the template was deleted
    subject = models.CharField(max_length=998, blank=True)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["slug", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["slug", "version"], name="one_per_slug_and_version"),
            models.UniqueConstraint(fields=["slug"], condition=models.Q(is_current=True), name="one_current_per_slug"),
        ]

    def __str__(self) -> str:
        return f"{self.slug}, version {self.version}"


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
    template = models.ForeignKey(Template, models.PROTECT, null=True, blank=True)  # the version that it was made from
    message_id = models.CharField(max_length=255)
    scheduled_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # for what waits for its time
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.TextField(blank=True)
    settled = models.JSONField(default=dict, blank=True)  # recipients whose end is not the mail's: project.outbox.outcomes
    sent_at = models.DateTimeField(null=True, blank=True)
    claimed_by = models.CharField(max_length=32, blank=True)  # the engine that is sending it
    lease_until = models.DateTimeField(null=True, blank=True)  # when its claim ends, should it never be heard of again

    class Meta:
        ordering: ClassVar = ["-id"]  # ids are UUIDv7: in order of time
        verbose_name = "e-mail"
        indexes: ClassVar = [
            models.Index(fields=["caller", "-id"], name="email_caller"),
            # By what SQLite knows again: it does not find the condition `status IN (…)` in a query's parameters.
            models.Index(fields=["next_attempt_at"], condition=models.Q(next_attempt_at__isnull=False), name="email_waiting"),
            # Every status that few mails have, so that they are found among a million that were sent.
            *(models.Index(fields=["-id"], condition=models.Q(status=status), name=f"email_{status}") for status in PASSING),
        ]

    def __str__(self) -> str:
        return f"{self.subject or 'No subject'} ({self.status})"

    @property
    def pending(self) -> list[str]:
        """The recipients it is still to be sent to."""
        return [address for address in self.recipients if address not in self.settled]

    @property
    def ends(self) -> list[dict[str, Any]]:
        """What has become of each recipient so far: its address, status, and what the relay said of it."""
        as_the_mail = {"status": self.status, "smtp_code": None, "response": None}
        return [{"address": address, **self.settled.get(address, as_the_mail)} for address in self.recipients]


class Source(models.Model):
    """The bytes that are sent, made when the mail was accepted (RFC 5322). Beside the row, so that lists need not read them."""

    email = models.OneToOneField(Email, models.CASCADE, primary_key=True)
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


class Suppression(models.Model):
    """An address that gets no mail from us: it does not exist, or does not want any."""

    address = models.CharField(max_length=320, primary_key=True)  # in its normal form: project.outbox.addresses
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    email = models.ForeignKey(Email, models.SET_NULL, null=True, blank=True)  # the mail that showed it, if one did

    class Meta:
        ordering: ClassVar = ["address"]

    def __str__(self) -> str:
        return self.address


class Event(models.Model):
    """Something that happened to a mail: one for each change of its status, and never changed itself."""

    email = models.ForeignKey(Email, models.CASCADE, related_name="events")
    caller = models.CharField(max_length=40, blank=True)  # the mail's: each may see its own
    type = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField()
    dialogue = models.TextField(blank=True)  # what was said over SMTP in the try that this ends, line by line

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["caller", "id"], name="event_caller")]

    def __str__(self) -> str:
        return self.type


@dataclass
class NewEvent:
    """An `Event` that is about to be written. To make a model's object takes several times as long, and each mail has three."""

    email_id: UUID
    caller: str
    type: str
    created_at: datetime
    data: dict[str, Any]
    dialogue: str = ""


class Pause(models.Model):
    """That an engine found the relay not working, and when it tries again. There is none while all is well."""

    engine = models.CharField(max_length=32, primary_key=True)
    since = models.DateTimeField()
    until = models.DateTimeField()
    failures = models.PositiveIntegerField()  # in a row
    error = models.TextField()

    def __str__(self) -> str:
        return self.error


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
