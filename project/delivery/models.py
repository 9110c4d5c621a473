"""Relay outages that the delivery workers have detected."""

from django.db import models


class RelayOutage(models.Model):
    """An outage of the relay that a worker has detected. The row is deleted as soon as the relay works again."""

    worker = models.CharField(max_length=32, primary_key=True)
    started_at = models.DateTimeField()
    next_probe_at = models.DateTimeField()
    failures = models.PositiveIntegerField()  # consecutive failed attempts to use the relay
    error = models.TextField()

    def __str__(self) -> str:
        return self.error
