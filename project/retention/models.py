"""Erasures that were started in the admin."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from project.emails.models import BulkState
from project.retention.erasure import Erasure


class PersonErasure(models.Model):
    """An erasure in the background (project.retention.erasure_runner). At the end, the addresses are removed from the row."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    addresses = models.JSONField(default=list)  # that are still to be erased, in order; normalized
    persons = models.PositiveIntegerField()  # the number of addresses at the start
    with_suppression = models.BooleanField(default=False)
    last = models.UUIDField(null=True)  # the last processed email to the first address
    matched = models.PositiveIntegerField()  # emails that were found at the start
    deleted = models.PositiveIntegerField(default=0)
    anonymized = models.PositiveIntegerField(default=0)
    unfinished = models.PositiveIntegerField(default=0)
    mailbox_messages = models.PositiveIntegerField(default=0)
    suppressions = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=BulkState, default=BulkState.RUNNING)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name = "erasure"

    def __str__(self) -> str:
        return f"Erasure {self.pk}"

    @property
    def done(self) -> Erasure:
        """Return the numbers of rows that were erased so far."""
        return Erasure(self.deleted, self.anonymized, self.unfinished, self.mailbox_messages, self.suppressions)
