"""The event log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.utils import timezone


class Event(models.Model):
    """Something that happened to a mail: one for each change of its status, and never changed itself."""

    email = models.ForeignKey("emails.Email", models.CASCADE, related_name="events")
    owner = models.CharField(max_length=40, blank=True)  # the mail's: each may see its own
    type = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField()
    smtp_transcript = models.TextField(blank=True)  # what was said over SMTP in the try that this ends, line by line

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["owner", "id"], name="event_owner")]

    def __str__(self) -> str:
        return self.type


@dataclass
class NewEvent:
    """An `Event` that is about to be written. To make a model's object takes several times as long, and each mail has three."""

    email_id: UUID
    owner: str
    type: str
    created_at: datetime
    data: dict[str, Any]
    smtp_transcript: str = ""
