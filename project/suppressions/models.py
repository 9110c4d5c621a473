"""The suppression list."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class Suppression(models.Model):
    """An email address that must not receive email, because it does not exist or the recipient opted out."""

    address = models.CharField(max_length=320, primary_key=True)  # normalized (project.emails.mime.email_addresses) and lowercase
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    email = models.ForeignKey("emails.Email", models.SET_NULL, null=True, blank=True)  # the email that bounced, or NULL

    class Meta:
        ordering: ClassVar = ["address"]

    def __str__(self) -> str:
        return self.address
