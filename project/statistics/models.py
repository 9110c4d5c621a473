"""Tables of statistics: numbers of emails by time of submission, and up to which event they are counted."""

from typing import ClassVar

from django.db import models


class EmailCount(models.Model):
    """Numbers of the emails submitted in one minute, hour or day (UTC), by what their status means on the dashboard."""

    pk = models.CompositePrimaryKey("span", "start")
    span = models.CharField(max_length=6)  # a key of project.statistics.spans.SPANS
    start = models.DateTimeField()
    sent = models.IntegerField(default=0)
    waiting = models.IntegerField(default=0)
    bounced = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    other = models.IntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["span", "start"]

    def __str__(self) -> str:
        return f"{self.span} {self.start}"


class CountedEvents(models.Model):
    """The last event that is counted: one row, whose lock lets one transaction at a time change the numbers."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    last_id = models.BigIntegerField()  # of the last counted event

    def __str__(self) -> str:
        return f"events up to {self.last_id}"
