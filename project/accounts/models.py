"""People, and the keys of programs."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

SOON = timedelta(days=7)


class User(AbstractUser):
    """Somebody who signs in. Django's own user; a model of ours so that it can grow."""


class KeyState(StrEnum):
    """Whether a key opens anything."""

    ACTIVE = "active"
    EXPIRING = "expiring soon"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKey(models.Model):
    """What a program calls with. The secret itself is nowhere: see project.accounts.keys."""

    name = models.CharField(max_length=100)
    public = models.CharField(max_length=8, unique=True)
    hashed = models.CharField(max_length=64)
    previous_hashed = models.CharField(max_length=64, default="", blank=True)  # before it was rotated
    previous_until = models.DateTimeField(null=True, blank=True)
    scopes = models.JSONField()
    senders = models.JSONField(default=list, blank=True)  # patterns, see project.accounts.senders; any, if empty
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)  # to the minute
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

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
        if self.expires_at is None or self.expires_at > now + SOON:
            return KeyState.ACTIVE
        return KeyState.EXPIRING if self.expires_at > now else KeyState.EXPIRED
