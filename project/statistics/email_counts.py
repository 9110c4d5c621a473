"""Counts emails by the minute, hour and day of their submission, each email once, by its current status.

The numbers are brought up to date from the event log, in batches instead of with each email: an event with a new status moves its
email from the number of the former status to the number of the new one. The id of the last counted event is stored in the same
transaction as the numbers. So no event is counted twice or left out, whichever process is killed.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Max, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform

from project.emails.status import Status
from project.events.models import Event
from project.events.selectors import first_event_id_since, last_event_id
from project.statistics.models import CountedEvents, EmailCount
from project.statistics.spans import KEPT, KEPT_LONGEST, SERIES, SERIES_BY_STATUS, Bucket, buckets, submitted_in

MAX_EVENTS = 1000  # counted in one transaction
ROW_ID = 1  # of the only row of `CountedEvents`
CLOCK_TOLERANCE = timedelta(hours=1)  # between the times of events and of emails, which several machines write


def count_events(*, now: datetime, limit: int = MAX_EVENTS) -> int:
    """Count the next events. Return their number; 0 if there are none, or if another transaction is counting."""
    progress = _lock_progress(now, skip_locked=True)
    if progress is None:
        return 0
    events = Event.objects.filter(id__gt=progress.last_id, id__lte=last_event_id()).order_by("id")
    batch = list(_with_status(events).values_list("email_id", "type", "status", "id")[:limit])
    if not batch:
        return 0
    current = {email_id: _series(status, type_) for email_id, type_, status, _id in batch}
    former = _counted_series(_recent(current, now), progress)
    _move(((each, former.get(each), current[each]) for each in _recent(current, now)), now=now)
    progress.last_id = batch[-1][-1]
    progress.save(update_fields=["last_id"])
    return len(batch)


def sweep_counts(*, now: datetime) -> int:
    """Count the next events and remove old numbers, as a step of the queue's sweep. Return 0 if few events can be left."""
    if (counted := count_events(now=now, limit=MAX_EVENTS)) == MAX_EVENTS:
        return counted
    EmailCount.objects.filter(_any_of(Q(span=span, start__lt=now - period) for span, period in KEPT.items())).delete()
    return 0


def subtract_emails(email_ids: Collection[UUID], *, now: datetime) -> None:
    """Take emails out of the numbers. Call it in the transaction that deletes the emails, before it deletes them."""
    if recent := _recent(email_ids, now):
        progress = _lock_progress(now, skip_locked=False)
        _move(((each, series, None) for each, series in _counted_series(recent, progress).items()), now=now)


def uncounted_events(newest_id: int) -> int:
    """Return about how many events up to this id are not counted yet."""
    counted = CountedEvents.objects.filter(pk=ROW_ID).values_list("last_id", flat=True).first()
    return max(0, newest_id - (counted or 0))


def _lock_progress(now: datetime, *, skip_locked: bool) -> CountedEvents | None:
    """Lock the row, which is created at the first call. Return None if another transaction has locked it, and `skip_locked`."""
    rows = CountedEvents.objects.filter(pk=ROW_ID)
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=skip_locked)
    progress = rows.first()
    if progress is None and not CountedEvents.objects.exists():
        # Emails that are too old to be counted have only earlier events, or events that are skipped.
        begin = first_event_id_since(now - KEPT_LONGEST - CLOCK_TOLERANCE, low=0, high=last_event_id() + 1)
        CountedEvents.objects.bulk_create([CountedEvents(pk=ROW_ID, last_id=begin - 1)], ignore_conflicts=True)
        progress = rows.first()
    return progress


def _recent(email_ids: Collection[UUID], now: datetime) -> list[UUID]:
    """Return the emails that were submitted recently enough to be counted."""
    return [each for each in email_ids if submitted_in(each) >= now - KEPT_LONGEST]


def _with_status(events: QuerySet[Event]) -> QuerySet[Any]:
    """Add the status of the email after each event. An event about some recipients has another type than the email's status."""
    return events.annotate(status=KeyTextTransform("status", "data"))


def _series(status: str | None, event_type: str) -> str:
    return SERIES_BY_STATUS[Status(status or event_type.removeprefix("email."))]


def _counted_series(email_ids: Collection[UUID], progress: CountedEvents | None) -> dict[UUID, str]:
    """Return the series in which each email is counted. Emails whose events are not counted yet are missing."""
    if progress is None or not email_ids:
        return {}
    counted = Event.objects.filter(email_id__in=email_ids, id__lte=progress.last_id).order_by()
    last = counted.values("email_id").annotate(last=Max("id")).values("last")
    events = _with_status(Event.objects.filter(id__in=Subquery(last)).order_by())
    return {email_id: _series(status, type_) for email_id, type_, status in events.values_list("email_id", "type", "status")}


def _move(changes: Iterable[tuple[UUID, str | None, str | None]], *, now: datetime) -> None:
    """Move emails from one series to another. None means that the email was not counted before, or is deleted."""
    moves = Counter((submitted_in(each), former, current) for each, former, current in changes if former != current)
    deltas: defaultdict[Bucket, Counter[str]] = defaultdict(Counter)
    for (minute, former, current), number in moves.items():
        for bucket in buckets(minute, now=now):
            deltas[bucket].update({current: number} if current else {})
            deltas[bucket].subtract({former: number} if former else {})
    if deltas:
        _add(deltas)


def _add(deltas: dict[Bucket, Counter[str]]) -> None:
    """Add to the stored numbers. The caller has locked the progress, so no other transaction changes the numbers."""
    starts: defaultdict[str, list[datetime]] = defaultdict(list)
    for span, start in deltas:
        starts[span].append(start)
    stored = EmailCount.objects.filter(_any_of(Q(span=span, start__in=each) for span, each in starts.items()))
    rows = {(row.span, row.start): row for row in stored}
    for bucket, delta in deltas.items():
        row = rows.setdefault(bucket, EmailCount(span=bucket[0], start=bucket[1]))
        for series, number in delta.items():
            setattr(row, series, getattr(row, series) + number)
    EmailCount.objects.bulk_create(rows.values(), update_conflicts=True, update_fields=SERIES, unique_fields=["span", "start"])


def _any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions)
