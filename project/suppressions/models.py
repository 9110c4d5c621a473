"""The suppression list."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class Suppression(models.Model):
    """An address that gets no mail from us: it does not exist, or does not want any."""

    address = models.CharField(max_length=320, primary_key=True)  # in its normal form: project.emails.mime.email_addresses
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    email = models.ForeignKey("emails.Email", models.SET_NULL, null=True, blank=True)  # the mail that showed it, if one did

    class Meta:
        ordering: ClassVar = ["address"]

    def __str__(self) -> str:
        return self.address
