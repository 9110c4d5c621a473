"""The audit trail."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class AuditAction(models.TextChoices):
    """Actions that are audited."""

    LOGGED_IN = "logged in"
    LOGGED_OUT = "logged out"
    REJECTED = "rejected"
    SESSIONS_ENDED = "sessions ended"
    REAUTHENTICATED = "re-authenticated"
    KEY_CREATED = "key created"
    KEY_ROTATED = "key rotated"
    KEY_REVOKED = "key revoked"
    PASSWORD_CHANGED = "password changed"  # noqa: S105  # an action, not a password
    TWO_FACTOR_ENABLED = "two-factor enabled"
    TWO_FACTOR_DISABLED = "two-factor disabled"
    RECOVERY_CODES_CREATED = "recovery codes created"
    RECOVERY_CODE_USED = "recovery code used"
    TEMPLATE_SAVED = "template saved"
    TEMPLATE_DELETED = "template deleted"
    SUPPRESSION_ADDED = "suppression added"
    SUPPRESSION_REMOVED = "suppression removed"
    SUPPRESSIONS_IMPORTED = "suppressions imported"
    PERSON_ERASED = "person erased"


class AuditEvent(models.Model):
    """One audited action. The row contains names as they were at that time, and stays when the user or key is deleted.

    In rows of versions before 0.2, `actor` is the changed key or user, and `object` is empty.
    """

    created_at = models.DateTimeField(default=timezone.now)
    action = models.CharField(max_length=24, choices=AuditAction)
    actor = models.CharField(max_length=150)  # the name of a user or of an API key, or "command line"
    actor_kind = models.CharField(max_length=8, default="", db_default="", blank=True)  # key, token, session or command
    object = models.CharField(max_length=300, default="", db_default="", blank=True)  # what was changed
    reason = models.CharField(max_length=20, default="", blank=True)  # why rejected, or `token` if an access token was issued
    ip_address = models.GenericIPAddressField(null=True, blank=True)  # of the client, if there was a request

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["created_at"], name="audit_created_at")]  # for deleting expired rows

    def __str__(self) -> str:
        return f"{self.actor}: {self.action}"
