"""API keys."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from django.db import models
from django.utils import timezone

EXPIRY_WARNING = timedelta(days=7)


class KeyState(StrEnum):
    """Whether a key opens anything."""

    ACTIVE = "active"
    EXPIRING = "expiring soon"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKey(models.Model):
    """What a program calls with. The secret itself is nowhere: see project.api_keys.keys."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True)
    secret_hash = models.CharField(max_length=64)
    previous_secret_hash = models.CharField(max_length=64, default="", blank=True)  # before it was rotated
    previous_secret_expires_at = models.DateTimeField(null=True, blank=True)
    scopes = models.JSONField()
    allowed_senders = models.JSONField(default=list, blank=True)  # patterns, see project.auth.sender_patterns; any, if empty
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)  # to the minute
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    daily_quota = models.PositiveIntegerField(null=True, blank=True)  # mails, see project.limits.rate_limits
    quota_used = models.PositiveIntegerField(default=0)  # on quota_day
    quota_day = models.DateField(null=True, blank=True)  # in UTC

    text = ""  # the key itself, on the object that it was made with and in no column

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.name

    def state(self, now: datetime) -> KeyState:
        """Whether it opens anything, and will in a week."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is None or self.expires_at > now + EXPIRY_WARNING:
            return KeyState.ACTIVE
        return KeyState.EXPIRING if self.expires_at > now else KeyState.EXPIRED
