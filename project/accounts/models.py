"""People, and the keys of programs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

SOON = timedelta(days=7)


class User(AbstractUser):
    """Somebody who signs in. Django's own user, and two-factor login (project.accounts.two_factor)."""

    @property
    def device(self) -> TOTPDevice | None:
        """What makes the codes that this user signs in with, if that was set up."""
        return TOTPDevice.objects.filter(user=self, confirmed=True).first()

    def get_session_auth_hash(self) -> str:
        """What sessions and tokens hold, and end with: the password, and the device."""
        return self._with_device(super().get_session_auth_hash())

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """The same under earlier secret keys."""
        return map(self._with_device, super().get_session_auth_fallback_hash())

    def _with_device(self, text: str) -> str:
        device = self.device
        return text if device is None else f"{text}:{device.pk}"


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
    daily_quota = models.PositiveIntegerField(null=True, blank=True)  # mails, see project.accounts.limits
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
        if self.expires_at is None or self.expires_at > now + SOON:
            return KeyState.ACTIVE
        return KeyState.EXPIRING if self.expires_at > now else KeyState.EXPIRED


class Revision(models.Model):
    """How often anybody's credentials have changed: one row, at which other processes look (project.accounts.changes)."""

    number = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return str(self.number)
