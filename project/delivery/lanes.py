"""Lanes of the queue: the due emails of one priority and one status. Each lane has its part of an index (decision 0035)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from project.emails.models import Email
from project.emails.priority import Priority
from project.emails.status import WAITING_UNTIL_DUE, Status

ALL_PRIORITIES = frozenset(Priority)


@dataclass(frozen=True)
class Lane:
    """The emails of a priority that are `queued`, or that are `scheduled` or `delayed` until they are due."""

    priority: Priority
    status: Status

    @property
    def waits_until_due(self) -> bool:
        """Return whether the emails of this lane have a time at which they are due."""
        return self.status in WAITING_UNTIL_DUE

    @property
    def age(self) -> str:
        """Return the field that orders the emails by age."""
        return "next_attempt_at" if self.waits_until_due else "id"

    @property
    def index_order(self) -> tuple[str, ...]:
        """Return the order in which the lane's index finds emails of all owners."""
        return ("next_attempt_at",) if self.waits_until_due else ("owner", "id")

    def due(self, now: datetime) -> QuerySet[Email]:
        """Return the due emails. Emails that workers crashed on are claimed separately."""
        due = Email.objects.filter(status=self.status, priority=self.priority, crashes=None)
        return due.filter(next_attempt_at__lte=now) if self.waits_until_due else due

    def condition(self, prefix: str = "") -> str:
        """Return the lane's condition in SQL, with constants, because SQLite must see that a partial index applies."""
        waiting = f" AND {prefix}next_attempt_at IS NOT NULL" if self.waits_until_due else ""
        lane = f"{prefix}status = '{self.status.value}' AND {prefix}priority = '{self.priority.value}'"
        return f"{lane} AND {prefix}crashes IS NULL{waiting}"


LANES = tuple(Lane(priority, status) for priority in Priority for status in (Status.QUEUED, *WAITING_UNTIL_DUE))


def lanes_with_due_emails(*, now: datetime, priorities: Collection[Priority] = ALL_PRIORITIES) -> list[Lane]:
    """Return the lanes of these priorities that have due emails, in the order of `LANES`. One statement for all lanes."""
    lanes = [lane for lane in LANES if lane.priority in priorities]
    time = connection.ops.adapt_datetimefield_value(now)
    parameters: list[Any] = [time for lane in lanes if lane.waits_until_due]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(map(_exists, lanes))}", parameters)
        row = cursor.fetchone()
    return [lane for lane, exists in zip(lanes, row or (), strict=True) if exists]


def _exists(lane: Lane) -> str:
    due = " AND next_attempt_at <= %s" if lane.waits_until_due else ""
    return f"EXISTS (SELECT 1 FROM {Email._meta.db_table} WHERE {lane.condition()}{due})"  # noqa: S608  # only constants
