"""Reads of the event log."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Self
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce

from project.auth.principal import Principal
from project.events.commit_order import low_watermark
from project.events.models import Event


@dataclass(frozen=True)
class EventFilter:
    """Selects events by the owner of the email, by type (such as `email.sent`) and by email. None matches any value."""

    owner_id: str | None
    types: frozenset[str] | None = None
    email_id: UUID | None = None

    @classmethod
    def for_principal(cls, principal: Principal, *, types: Iterable[str] | None = None, email_id: UUID | None = None) -> Self:
        """Return a filter that is limited to the events that a principal may see."""
        owner_id = None if principal.can_view_all else principal.owner_id
        return cls(owner_id, None if types is None else frozenset(types), email_id)

    def matches(self, event: Event) -> bool:
        """Return whether an event passes the filter."""
        return (
            (self.owner_id is None or event.owner == self.owner_id)
            and (self.types is None or event.type in self.types)
            and (self.email_id is None or event.email_id == self.email_id)
        )

    def first(self, events: QuerySet[Event], limit: int) -> list[Event]:
        """Return the first of the events that pass the filter. `events` is ordered by id and has no other filter than ids."""
        if self.email_id is not None:
            return list(self._without_indexes(events.filter(email_id=self.email_id))[:limit])
        if self.owner_id is not None:
            events = events.filter(owner=self.owner_id)
        if self.types is None:
            return list(events[:limit])
        # One query for each type, because an index returns the events of several types in another order.
        ids = merge(*(events.filter(type=each).values_list("id", flat=True)[:limit] for each in self.types))
        return list(events.filter(id__in=list(islice(ids, limit))))

    def _without_indexes(self, events: QuerySet[Event]) -> QuerySet[Event]:
        """Filter the events of one email by owner and type. COALESCE keeps the planner from using the indexes on them."""
        for name, value in {"owner": [self.owner_id], "type": self.types}.items():
            if value is not None and None not in value:
                events = events.alias(**{f"unindexed_{name}": Coalesce(name, Value(""))}).filter(
                    **{f"unindexed_{name}__in": value}
                )
        return events


def last_event_id() -> int:
    """Return the id of the last event, or 0. No event with a smaller id will be committed later."""
    return low_watermark(_newest_id())


def events_after(after: int, *, up_to: int | None = None, event_filter: EventFilter | None = None, limit: int) -> list[Event]:
    """Return the events after an id, in order and without their SMTP transcripts.

    No event with an id up to the last returned one will be committed later. `up_to` is an earlier result of `last_event_id`.
    """
    up_to = last_event_id() if up_to is None else up_to
    if up_to <= after:
        return []
    events = Event.objects.filter(id__gt=after, id__lte=up_to).defer("smtp_transcript").order_by("id")
    return list(events[:limit]) if event_filter is None else event_filter.first(events, limit)


def waits_for_writer(after: int) -> bool:
    """Return whether `events_after` withholds committed events because a transaction with a smaller id is still open."""
    return connection.vendor == "postgresql" and _newest_id() > after


def first_event_id_since(moment: datetime, *, low: int, high: int) -> int:
    """Return the id of the first event at or after `moment`, or `high` if there is none.

    A binary search from `low` to `high`. It works because event ids are in the order of the events' times.
    """
    while low < high:
        middle = (low + high) // 2
        event = Event.objects.filter(id__gte=middle).order_by("id").values_list("id", "created_at").first()
        if event is None or event[1] >= moment:
            high = middle
        else:
            low = event[0] + 1
    return low


def _newest_id() -> int:
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
