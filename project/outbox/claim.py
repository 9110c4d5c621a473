"""Who sends what: an atomic claim of rows, so that no mail is in two hands at once (django-post_office#248, #326)."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Q

from project.outbox.events import record_events
from project.outbox.models import Email
from project.outbox.states import WAITING_FOR_ITS_TIME, Status

LEASE = timedelta(minutes=5)  # an engine that is alive renews it; of one on another machine, nothing else is known


def claim_emails(engine: str, *, limit: int, now: datetime) -> list[Email]:
    """Take up to `limit` queued mails, the oldest first, for `engine`. They count as one more attempt from here on.

    Leased, not finished: if the engine dies, another sends them again. Two mails are better than none.
    """
    due = Q(status=Status.QUEUED) | Q(status__in=WAITING_FOR_ITS_TIME, next_attempt_at__lte=now)
    queued = Email.objects.filter(due).order_by("id")
    if connection.features.has_select_for_update_skip_locked:
        queued = queued.select_for_update(skip_locked=True)  # on SQLite the transaction, begun IMMEDIATE, holds others off
    ids = list(queued.values_list("id", flat=True)[:limit])
    Email.objects.filter(id__in=ids).update(
        status=Status.SENDING, claimed_by=engine, lease_until=now + LEASE, attempts=F("attempts") + 1, next_attempt_at=None
    )
    claimed = list(Email.objects.filter(id__in=ids).select_related("source").order_by("id"))
    record_events(claimed, now=now)
    return claimed


def renew_leases(engine: str, *, now: datetime) -> int:
    """Say that `engine` is alive, and still has in hand what it claimed. Gives how many mails that are."""
    return Email.objects.filter(status=Status.SENDING, claimed_by=engine).update(lease_until=now + LEASE)


def requeue_abandoned(dead_engines: Iterable[str], *, now: datetime) -> int:
    """Put back what dead engines had in hand, and what was held beyond its lease. Gives how many."""
    sending = Email.objects.filter(status=Status.SENDING)
    abandoned = sending.filter(Q(claimed_by__in=list(dead_engines)) | Q(lease_until__lt=now))
    ids = list(abandoned.values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(status=Status.QUEUED, claimed_by="", lease_until=None)
    record_events(Email.objects.filter(id__in=ids), now=now)
    return len(ids)
