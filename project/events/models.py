"""The event log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.utils import timezone


class Event(models.Model):
    """A status change of an email. Events are never updated."""

    email = models.ForeignKey("emails.Email", models.CASCADE, related_name="events")
    owner = models.CharField(max_length=40, blank=True)  # copied from the email, for access control
    type = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField()
    smtp_transcript = models.TextField(blank=True)  # the SMTP dialogue of the attempt whose result this event records

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["owner", "id"], name="event_owner"),
            models.Index(fields=["owner", "type", "id"], name="event_owner_type"),
            models.Index(fields=["type", "id"], name="event_type"),
        ]

    def __str__(self) -> str:
        return self.type


@dataclass
class NewEvent:
    """An event to insert. A dataclass is faster to create than a model instance, and each email has about three events."""

    email_id: UUID
    owner: str
    type: str
    created_at: datetime
    data: dict[str, Any]
    smtp_transcript: str = ""
    scheduled_at: datetime | None = None  # of the email, for the delivery latency; not stored with the event
