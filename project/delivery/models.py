"""Relay outages, as the delivery workers see them."""

from django.db import models


class RelayOutage(models.Model):
    """That an engine found the relay not working, and when it tries again. There is none while all is well."""

    worker = models.CharField(max_length=32, primary_key=True)
    started_at = models.DateTimeField()
    next_probe_at = models.DateTimeField()
    failures = models.PositiveIntegerField()  # in a row
    error = models.TextField()

    def __str__(self) -> str:
        return self.error
