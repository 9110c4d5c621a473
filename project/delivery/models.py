"""Tables of delivery: heartbeats of the workers, relay outages that they have detected, and the readiness check's probe."""

from typing import ClassVar

from django.db import models


class WorkerHeartbeat(models.Model):
    """The heartbeat of a running delivery worker. Other processes observe whether `beats` changes."""

    worker = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(max_length=255)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()  # by the worker's clock, so it proves nothing to other machines
    beats = models.PositiveBigIntegerField()
    interval_seconds = models.FloatField()  # the longest time between two heartbeats of a healthy worker

    def __str__(self) -> str:
        return f"{self.worker} on {self.host}"


class RelayOutage(models.Model):
    """An outage of a relay that a worker has detected. The row is deleted as soon as the relay works again."""

    worker = models.CharField(max_length=32)
    relay = models.CharField(max_length=255, blank=True)  # its name, or its host and port
    started_at = models.DateTimeField()
    next_probe_at = models.DateTimeField()
    failures = models.PositiveIntegerField()  # consecutive failed attempts to use the relay
    error = models.TextField()

    class Meta:
        db_table = "delivery_outage"  # the previous version's processes still use its table
        constraints: ClassVar = [models.UniqueConstraint(fields=["worker", "relay"], name="unique_worker_relay")]

    def __str__(self) -> str:
        return self.error


class WriteProbe(models.Model):
    """A row that the readiness check inserts and deletes in one transaction, so this table is always empty."""

    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.created_at:%H:%M:%S}"
