"""Tables of emails: the email and its raw message, the recipients and tags to search by, and idempotency keys."""

from collections import Counter
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from project.bridge.middleware.request_id import MAX_REQUEST_ID_LENGTH
from project.emails.failure_reason import MAX_REASON_LENGTH
from project.emails.indexes import EMAIL_INDEXES
from project.emails.priority import Priority
from project.emails.status import RETRYABLE, Status
from project.emails.subject_words import MAX_WORD_LENGTH
from project.metrics.spans import TRACE_PARENT_LENGTH


class Email(models.Model):
    """A submitted email. This table is also the queue: the status of a row decides whether the email is still to be sent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.CharField(max_length=40, blank=True)  # Principal.owner_id; empty if submitted without a credential
    created_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Status], default=Status.QUEUED)
    # With a default in the database, because processes of the previous version insert rows without a priority.
    priority = models.CharField(
        max_length=6,
        choices=[(p.value, p.value) for p in Priority],
        default=Priority.NORMAL.value,
        db_default=Priority.NORMAL.value,
    )
    sender = models.CharField(max_length=320)  # the From address, with its display name
    to = models.JSONField(default=list)  # to, cc, bcc and reply_to contain addresses as submitted, with display names
    cc = models.JSONField(default=list, blank=True)
    bcc = models.JSONField(default=list, blank=True)
    reply_to = models.JSONField(default=list, blank=True)
    recipients = models.JSONField()  # the envelope: the bare addresses of to, cc and bcc, without duplicates
    subject = models.CharField(max_length=998)
    # No longer written, because the raw message contains both texts. A later version drops these two columns, which the
    # previous version still reads.
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    # The template version that the email was rendered from.
    template = models.ForeignKey("mail_templates.Template", models.PROTECT, null=True, blank=True, db_index=False)
    message_id = models.CharField(max_length=255)
    scheduled_at = models.DateTimeField(null=True, blank=True)  # as requested; not cleared when the email is sent
    next_attempt_at = models.DateTimeField(null=True, blank=True)  # when a scheduled or delayed email is due, else NULL
    retried_at = models.DateTimeField(null=True, blank=True)  # when a caller last queued the email again
    attempts = models.PositiveSmallIntegerField(default=0)
    # How many workers in a row died or stopped while they sent this email. NULL means none, which adds no value to old rows.
    crashes = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    # The normalized cause of the last failure, also of a single recipient. NULL without a failure, because SQLite uses a partial
    # index only if the query visibly implies its condition, and `reason = …` implies IS NOT NULL.
    reason = models.CharField(max_length=MAX_REASON_LENGTH, null=True, blank=True)  # noqa: DJ001
    # The email whose copy this email is, if it was sent again.
    resent_from = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, db_index=False, related_name="resent_as")
    # Final results by recipient: {address: {status, smtp_code, response, finished_at}}. A recipient without
    # an entry has the email's status.
    recipient_results = models.JSONField(default=dict, blank=True)
    # The id of the request that submitted the email. NULL without a request, and in rows of earlier versions.
    request_id = models.CharField(max_length=MAX_REQUEST_ID_LENGTH, null=True, blank=True)  # noqa: DJ001
    # The span of that request (W3C `traceparent`), if it was traced.
    trace_parent = models.CharField(max_length=TRACE_PARENT_LENGTH, null=True, blank=True)  # noqa: DJ001
    # The relay of the last attempt that has a result: its name, or its host and port. NULL before it.
    relay = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    sent_at = models.DateTimeField(null=True, blank=True)  # when the relay first accepted the email for a recipient
    claimed_by = models.CharField(max_length=32, blank=True)  # id of the delivery worker that is sending the email
    lease_expires_at = models.DateTimeField(null=True, blank=True)  # when the claim ends if the worker stops renewing it

    class Meta:
        ordering: ClassVar = ["-id"]  # ids are UUIDv7: they sort by time of creation
        indexes: ClassVar = EMAIL_INDEXES

    def __str__(self) -> str:
        return f"{self.subject or 'No subject'} ({self.status})"

    @property
    def due_since(self) -> datetime:
        """Return when the email was first due, or when a caller last retried it. Its maximum age counts from then."""
        return self.retried_at or max(self.created_at, self.scheduled_at or self.created_at)

    @property
    def pending_recipients(self) -> list[str]:
        """Return the recipients without a final result: the email is still to be sent to them."""
        return [address for address in self.recipients if address not in self.recipient_results]

    @property
    def is_retryable(self) -> bool:
        """Return whether the email, or its delivery to some of its recipients, can be retried."""
        failed_for_some = self.status == Status.SENT and len(self.results_without_failures) < len(self.recipient_results)
        return self.status in RETRYABLE or failed_for_some

    @property
    def results_without_failures(self) -> dict[str, Any]:
        """Return the results of the recipients that are not retried."""
        results: dict[str, Any] = self.recipient_results
        return {address: final for address, final in results.items() if final["status"] != Status.FAILED}

    @property
    def is_partly_sent(self) -> bool:
        """Return whether the email was sent to some of its recipients, but not to all."""
        return self.status == Status.SENT and self.other_statuses != ""

    @property
    def other_statuses(self) -> str:
        """Return the statuses of the recipients whose status differs from the email's, with their numbers: "1 bounced"."""
        results = self.recipient_results.values()
        others = Counter(final["status"] for final in results if final["status"] != self.status)
        return " · ".join(f"{number} {status}" for status, number in sorted(others.items()))

    @property
    def recipient_statuses(self) -> list[dict[str, Any]]:
        """Return for each recipient: `address`, `status`, the relay's reply (`smtp_code`, `response`), and `finished_at`."""
        finished_at = self.sent_at if self.status == Status.SENT else None
        same_as_email = {"status": self.status, "smtp_code": None, "response": None, "finished_at": finished_at}
        return [{"address": address, **self.recipient_results.get(address, same_as_email)} for address in self.recipients]


class RawMessage(models.Model):
    """The message bytes to send (RFC 5322), built when the email is submitted. A separate table keeps lists of emails fast."""

    email = models.OneToOneField(Email, models.CASCADE, primary_key=True, related_name="raw_message")
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"Raw message of {self.email_id}"


class Recipient(models.Model):
    """A recipient of an email. This table makes emails searchable by recipient."""

    pk = models.CompositePrimaryKey("address", "email_id")
    address = models.CharField(max_length=320)  # in lowercase, so that a search ignores case
    email = models.ForeignKey(Email, models.CASCADE)
    # The email's owner, so that a search does not read the rows of other owners. NULL in rows of the previous version, until
    # project.emails.search_rows has completed them.
    owner = models.CharField(max_length=40, null=True, blank=True)  # noqa: DJ001

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["owner", "address", "email"], name="recipient_owner_address"),
            models.Index(fields=["email"], condition=models.Q(owner__isnull=True), name="recipient_incomplete"),
        ]

    def __str__(self) -> str:
        return self.address


class Tag(models.Model):
    """A tag of an email. This table makes emails searchable by tag."""

    pk = models.CompositePrimaryKey("key", "value", "email_id")
    key = models.CharField(max_length=100)
    value = models.CharField(max_length=100)
    email = models.ForeignKey(Email, models.CASCADE)
    owner = models.CharField(max_length=40, null=True, blank=True)  # noqa: DJ001  # as in Recipient

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["owner", "key", "value", "email"], name="tag_owner_key_value"),
            models.Index(fields=["email"], condition=models.Q(owner__isnull=True), name="tag_incomplete"),
        ]

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


class SubjectWord(models.Model):
    """A word of an email's subject. This table makes emails searchable by word."""

    pk = models.CompositePrimaryKey("word", "email_id")
    word = models.CharField(max_length=MAX_WORD_LENGTH)
    email = models.ForeignKey(Email, models.CASCADE)

    def __str__(self) -> str:
        return self.word


class IdempotencyKey(models.Model):
    """An idempotency key of one owner, with the response to the first request that used it."""

    owner = models.CharField(max_length=40)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # SHA-256 of the request body
    response = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["owner", "key"], name="unique_owner_key")]

    def __str__(self) -> str:
        return self.key


class BulkState(models.TextChoices):
    """State of a bulk action."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by a user
    FAILED = "failed"


class BulkAction(models.Model):
    """An action on all emails that match a list's filters. It runs in the background: see project.emails.admin.bulk_runner."""

    action = models.CharField(max_length=10)  # a key of project.emails.admin.actions.ACTIONS
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    filters = models.TextField(blank=True)  # the query string of the list of emails, without the page
    newest = models.UUIDField()  # emails that are submitted later are left out
    last = models.UUIDField(null=True, blank=True)  # the last processed email; the emails before it follow
    state = models.CharField(max_length=10, choices=BulkState, default=BulkState.RUNNING)
    matched = models.PositiveIntegerField()  # emails that matched at the start
    # Whether `matched` is a minimum, because a limited number of emails was checked.
    may_match_more = models.BooleanField(default=False, db_default=False)
    changed = models.PositiveIntegerField(default=0)
    skipped = models.JSONField(default=dict, blank=True)  # {reason: number of emails}
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} {self.matched} emails ({self.state})"

    @property
    def processed(self) -> int:
        """Return how many emails were changed or skipped so far."""
        return int(self.changed + sum(self.skipped.values()))
