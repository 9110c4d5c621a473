"""API keys."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

EXPIRY_WARNING = timedelta(days=7)


class KeyState(StrEnum):
    """State of an API key."""

    ACTIVE = "active"
    EXPIRING = "expiring soon"
    EXPIRED = "expired"
    OWNER_INACTIVE = "owner deactivated"
    REVOKED = "revoked"


class ApiKey(models.Model):
    """A credential of a program. Only a hash of the secret is stored: see project.api_keys.keys."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True)
    secret_hash = models.CharField(max_length=64)
    # The person who created the key. The key stops working when this user is deactivated. None: created by the command line.
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="api_keys")
    previous_secret_hash = models.CharField(max_length=64, default="", blank=True)  # the secret before the last rotation
    previous_secret_expires_at = models.DateTimeField(null=True, blank=True)
    scopes = models.JSONField()
    allowed_senders = models.JSONField(default=list, blank=True)  # project.auth.sender_patterns; if empty, any address is allowed
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)  # accurate to one minute
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    daily_quota = models.PositiveIntegerField(null=True, blank=True)  # emails per day, see project.api_keys.quota
    quota_used = models.PositiveIntegerField(default=0)  # emails sent on quota_day
    quota_day = models.DateField(null=True, blank=True)  # a UTC day

    plaintext = ""  # not a column: the full key, only on the instance that was just created

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.name

    def state(self, now: datetime) -> KeyState:
        """Return the key's state. A key that expires within `EXPIRY_WARNING` has the state `EXPIRING`."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.owner is not None and not self.owner.is_active:
            return KeyState.OWNER_INACTIVE
        if self.expires_at is None or self.expires_at > now + EXPIRY_WARNING:
            return KeyState.ACTIVE
        return KeyState.EXPIRING if self.expires_at > now else KeyState.EXPIRED
