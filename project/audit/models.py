"""The audit trail."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class Fact(models.TextChoices):
    """What is written down."""

    SIGNED_IN = "signed in"
    SIGNED_OUT = "signed out"
    REFUSED = "refused"
    KEY_MADE = "key made"
    KEY_ROTATED = "key rotated"
    KEY_REVOKED = "key revoked"
    PASSWORD_CHANGED = "password changed"  # noqa: S105  # a fact, and no password
    TWO_FACTOR_LOGIN_ON = "two-factor login on"
    TWO_FACTOR_LOGIN_OFF = "two-factor login off"
    RECOVERY_CODES_MADE = "recovery codes made"
    RECOVERY_CODE_USED = "recovery code used"


class AuditEvent(models.Model):
    """One fact. It names people and keys as they were called then, and stays when they are gone."""

    at = models.DateTimeField(default=timezone.now)
    fact = models.CharField(max_length=20, choices=Fact)
    name = models.CharField(max_length=150)  # of a person or of a key
    reason = models.CharField(max_length=20, default="", blank=True)  # of a refusal; or that it was a token, not a session
    address = models.GenericIPAddressField(null=True, blank=True)  # the caller's, if there was a request

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["at"], name="audit_at")]  # the oldest are deleted

    def __str__(self) -> str:
        return f"{self.name}: {self.fact}"
